"""Row by row: what each event does to a VM's state, and what is wrong with it."""
