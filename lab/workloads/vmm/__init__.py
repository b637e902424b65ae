"""A VMM for one nested guest: /dev/kvm, its memory and tables, and L1's payload."""
