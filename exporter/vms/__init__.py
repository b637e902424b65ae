"""The VMs behind the counts: which are alive, which have ended, which are past the bound."""
