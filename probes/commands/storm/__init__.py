"""`nvscope storm`: MMU notifiers on a running VM, made in ways that lose nothing."""
