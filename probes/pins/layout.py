"""How pins lie in a folder of a BPF file system.

    DIR/current/about         what was loaded (about.py)
    DIR/current/rows …        the maps (counters.py), for all to read
    DIR/current/programs/…    the programs, for all to look at
    DIR/current/links/…       what attaches them, for root alone

All is made in DIR/loading first, which then gets its name at once: no reader sees half of it.
A name must not have a dot (bpf_lookup, kernel/bpf/inode.c).
"""

CURRENT, LOADING, OLD = "current", "loading", "old"
ABOUT, PROGRAMS, LINKS = "about", "programs", "links"
