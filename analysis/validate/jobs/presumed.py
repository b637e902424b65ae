"""Traces of kernels that seem to have no reverse map, and unmap as only one with a map can."""

from __future__ import annotations

from nvscope.analysis.judging.findings import Result

BEHAVIOUR = "behaviour"
NOTE = (
    "its notifiers unmap ranges, so the kernel has a reverse map, which its types do not tell:"
    " its behaviour is judged (--variant none: as a kernel without one)"
)


def has_unknown_revmap(result: Result, variant: str | None) -> bool:
    """Whether a trace was judged as one of a kernel without a reverse map, and cannot be one.

    variant: what the user said to judge it as, if anything: that counts.
    """
    return not variant and result.variant == "none" and result.ranged_unmaps > 0
