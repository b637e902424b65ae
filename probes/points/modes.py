"""What is asked of the programs: by which mechanisms they attach, and what goes to user space."""

from __future__ import annotations

from dataclasses import dataclass

FENTRY, KPROBE = "fentry", "kprobe"
MECHANISMS = (FENTRY, KPROBE)


@dataclass(frozen=True)
class Probing:
    """What a one-shot probe asks for, beside the duration of each call of its point.

    triggers: who caused it, where the catalog has what tells that; threshold_ns: calls that take so
    long, or longer, are events of their own, with a kernel stack (0: none is).
    """

    point: str
    triggers: bool = False
    threshold_ns: int = 0


@dataclass(frozen=True)
class Mode:
    """What programs do. trace: all events go to user space; probing: for a one-shot probe."""

    trace: bool = False
    probing: Probing | None = None

    @property
    def events(self) -> bool:
        """Whether any event goes to user space."""
        return self.trace or (self.probing is not None and self.probing.threshold_ns > 0)


COUNTS = Mode()
TRACES = Mode(trace=True)
