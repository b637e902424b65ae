"""The kernels that can be judged: without a reverse map, with one of three, with a later one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """revmap: there is one; else each notifier unmap unmaps all of each MMU that maps something.

    tlbi_removes: a TLBI by L1 takes out the entries of what it unmaps (v3; v2 leaves them, stale).
    lookup: a canonical tree of all MMUs says which of them a notifier has to look at (v1).
    tracks: entries are mappings, each with its one nested IPA, and go with whatever is unmapped.
    modelled: else behaviour alone can be judged, which means the same on all kernels.
    shown_by: the probe points that show its decisions, if there is a reverse map; see events.About.
    """

    name: str
    revmap: bool = True
    modelled: bool = True
    tlbi_removes: bool = False
    lookup: bool = False
    tracks: bool = False
    shown_by: tuple[str, ...] = ("revmap_record",)


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("none", revmap=False),
        Variant("maple-v1", lookup=True),
        Variant("maple-v2"),
        Variant("maple-v3", tlbi_removes=True),
        Variant("tracking", tracks=True),
        Variant("behaviour", modelled=False),  # of a kernel of which nothing is known
    )
}

# What a trace says of its kernel (events.About.revmap) -> variant; of all others "behaviour".
OF_KERNEL: Mapping[str, str] = {"none": "none", "maple": "maple-v2", "tracking": "tracking"}
