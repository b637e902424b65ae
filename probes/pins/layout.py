"""How pins lie in a folder of a BPF file system.

    DIR/lock                  held by a loader at work, for its user alone
    DIR/current/about         what was loaded (about.py)
    DIR/current/rows …        the maps (counters.py)
    DIR/current/stats         what the kernel tells of the programs (stats.py)
    DIR/current/links/…       what attaches the programs, for their user alone

What is in current is for the readers' group to read: keys of the maps are addresses of the kernel,
and others do not get them (kernel.kptr_restrict). The maps are frozen: only programs write to them.
Programs are not pinned: the links keep them.

All is made in DIR/loading first, which then gets its name at once: no reader sees half of it.
A name must not have a dot (bpf_lookup, kernel/bpf/inode.c).
"""

LOCK = "lock"
CURRENT, LOADING, OLD = "current", "loading", "old"
ABOUT, STATS, LINKS = "about", "stats", "links"
