"""How a kernel complains of itself, and whether it still would."""

from __future__ import annotations

# Found anywhere in a line of the console. Most reports have WARNING: or BUG: in their first line:
# WARN_ON, lockdep (lock order, lock state, held lock freed, suspicious RCU usage), KASAN, sleeping
# in atomic context, bad pages. The others:
COMPLAINTS = (
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "Unable to handle",
    "rcu: INFO",
    "possible recursive",
    "UBSAN:",
    "corruption",  # list_add, list_del (lib/list_debug.c)
    "] BUG at ",  # MT_BUG_ON, MAS_BUG_ON, … (include/linux/maple_tree.h)
    "] WARN at ",  # MT_WARN_ON, MAS_WARN_ON, …
    "INFO: trying to register non-static key",  # lockdep, of a lock that was never initialised
    "INFO: lockdep is turned off",
    "turning off the locking correctness validator",
    "INFO: task",  # hung (kernel/hung_task.c)
)


def complaints(console: str) -> list[str]:
    """The lines of a console in which the kernel complains of itself.

    >>> complaints("[ 1.0] fine\\n[ 2.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2\\n")
    ['[ 2.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2']
    """
    return [line for line in console.splitlines() if any(sign in line for sign in COMPLAINTS)]


def lockdep_off(lockdep_stats: str) -> bool:
    """Whether lockdep has stopped to look, by /proc/lockdep_stats: it does at its first report.

    It also does where one of its tables is full. An empty text is a kernel without lockdep.

    >>> lockdep_off(" lock-classes:   1093 [max: 8192]\\n debug_locks:        0\\n")
    True
    >>> lockdep_off("")
    False
    """
    values = dict(line.split(":", 1) for line in lockdep_stats.splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in values.items()}
    return bool(found) and found.get("debug_locks") != "1"
