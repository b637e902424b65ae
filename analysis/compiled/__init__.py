"""Regular rows by compiled code: the VMs that it can hold, and their way there and back."""
