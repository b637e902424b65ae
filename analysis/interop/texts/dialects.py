"""Whether a text is ftrace's or perf's: by what most of its lines can only be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from nvscope.analysis.interop.texts.text import FTRACE, PERF


def dialect(lines: Iterable[str]) -> str:
    """ "ftrace", "perf" or, where no line is an event of either, "".

    >>> dialect(["qemu 7 [000]  1.000000: nv:map_end: (f)"])
    'perf'
    >>> dialect(["  :-1 -1 [000]  1.000000: nv:map_end: (f)"])
    'perf'
    >>> dialect(["a -1 [000] d..1.  1.000000: map_end: (f)"])
    'ftrace'
    """
    sure: Counter[str] = Counter()
    likely: Counter[str] = Counter()
    for line in lines:
        ftrace, perf = FTRACE.fullmatch(line), PERF.fullmatch(line)
        if ftrace and perf:
            # perf names an event's group, and no flags; ftrace no group, and most often flags.
            is_perf = ":" in perf["event"] and not ftrace["flags"]
            likely["perf" if is_perf else "ftrace"] += 1
        elif ftrace or perf:
            sure["ftrace" if ftrace else "perf"] += 1
    votes = sure or likely
    return max(votes, key=lambda name: votes[name]) if votes else ""
