"""What to see first."""

from __future__ import annotations

from nvscope.analysis.report.measures.gather import Findings
from nvscope.analysis.report.measures.latency import Latency
from nvscope.analysis.report.sections.shapes import Figure
from nvscope.analysis.units import duration, number, ratio, share, size


def headlines(found: Findings) -> list[Figure]:
    """What to see first."""
    latencies, cost = found.tally.latencies, found.follower.costs.both
    full, ranged = latencies["full"].count, latencies["ranged"].count
    fallbacks = found.tally.kinds["fallback"]
    return [
        _timed("Notifier unmaps", latencies["notifier"]),
        Figure(
            "Full shadow unmaps",
            number(full),
            f"{share(full, full + ranged)} of {number(full + ranged)} shadow unmaps"
            if full + ranged
            else "no shadow unmap was seen",
        ),
        Figure("Fallbacks", number(fallbacks), _reasons(found)),
        Figure(
            "Over-unmap ratio",
            ratio(cost.taken_bytes, cost.needed_bytes),
            f"notifiers took {size(cost.taken_bytes)} of shadow mappings,"
            f" {size(cost.needed_bytes)} had to go",
        ),
        Figure(
            "Refault time",
            duration(cost.refault_ns),
            f"in {number(cost.refaults)} shadow faults after notifier unmaps",
        ),
        Figure(
            "Lost events",
            number(found.lost),
            "; ".join(f"{number(n)} {word}" for word, n in found.tally.losses.items())
            or "none that is known",
            grave=found.lost > 0,
        ),
    ]


def _timed(title: str, latency: Latency) -> Figure:
    if not latency.count:
        return Figure(title, "0", "none was seen")
    return Figure(
        title,
        number(latency.count),
        f"median {duration(latency.quantile(0.5))}, p99 {duration(latency.quantile(0.99))}, "
        f"longest {duration(latency.max_ns)}",
    )


def _reasons(found: Findings) -> str:
    reasons = found.fallbacks
    if not reasons:
        revmap = found.about.revmap
        return "there is no reverse map to fall back from" if revmap == "none" else ""
    return ", ".join(f"{number(n)} {reason}" for reason, n in reasons.items())
