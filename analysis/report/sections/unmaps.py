"""Shadow unmaps: how many, by whom, what they took of what had to go, and what that cost."""

from __future__ import annotations

from nvscope.analysis.report.drawing import charts
from nvscope.analysis.report.measures.gather import Findings
from nvscope.analysis.report.measures.unmaps import Cost
from nvscope.analysis.report.sections.shapes import Chart, Table
from nvscope.analysis.units import duration, name, number, ratio, size

SCOPES = ("full", "ranged")  # of a shadow unmap: the css classes, too
WITHIN = ("notifier", "tlbi", "recycling", "other")
MAX_COMMS = 10


def unmaps_over_time(found: Findings, used: int) -> list[Chart]:
    """Full against ranged: how many, and how much they took."""
    key = [(css, css) for css in SCOPES]
    counts = {css: (css, css) for css in SCOPES[::-1]}
    taken = {f"taken {css}": (css, css) for css in SCOPES[::-1]}
    line = found.timeline
    drawn = [
        ("Shadow unmaps", charts.stacked("unmaps over time", line, counts, used, _whole)),
        ("Bytes they unmapped", charts.stacked("bytes over time", line, taken, used, size)),
    ]
    return [Chart(title, svg, key) for title, svg in drawn if svg]


def _whole(value: float) -> str:
    return number(round(value)) if value >= 10 else f"{value:.1f}".removesuffix(".0")


def unmaps_by_cause(found: Findings) -> Table:
    """How many shadow unmaps of each scope there were, and what they ran within."""
    counts = found.unmaps
    head = ("Within", "Full", "Ranged", "Unmapped by full", "Unmapped by ranged")
    rows = []
    for within in WITHIN:
        full, ranged = counts[f"full {within}"], counts[f"ranged {within}"]
        if full or ranged:
            taken = [found.follower.counts[f"taken {scope} {within}"] for scope in SCOPES]
            rows.append((within, number(full), number(ranged), *map(size, taken)))
    return Table(head, rows)


def takers(found: Findings) -> Table:
    """Which tasks' notifier unmaps."""
    counts = found.tally.comms.most_common()
    rows = [(comm, number(n)) for comm, n in counts[:MAX_COMMS]]
    rest = sum(n for _, n in counts[MAX_COMMS:])
    if rest:
        rows.append((f"{number(len(counts) - MAX_COMMS)} more", number(rest)))
    return Table(("Task", "Notifier unmaps"), rows)


def fallbacks(found: Findings) -> Table:
    """Why notifier unmaps gave up on a reverse map."""
    rows = [(reason, number(n)) for reason, n in found.fallbacks.items()]
    return Table(("Reason", "Fallbacks"), rows)


def over_unmap(found: Findings) -> Table:
    """What notifiers' shadow unmaps took, against what had to go."""
    head = ("Scope", "Unmaps", "Took nothing", "Took", "Had to go", "Ratio")
    costs = found.follower.costs
    rows = [_over_unmap_row(scope, cost) for scope, cost in costs.scopes.items() if cost.unmaps]
    if len(rows) > 1:
        rows.append(_over_unmap_row("both", costs.both))
    return Table(head, rows)


def _over_unmap_row(scope: str, cost: Cost) -> tuple[str, ...]:
    return (
        scope,
        number(cost.unmaps),
        number(cost.took_nothing),
        size(cost.taken_bytes),
        size(cost.needed_bytes),
        ratio(cost.taken_bytes, cost.needed_bytes),
    )


def refault_sums(found: Findings) -> Table:
    """What it cost to bring back what was taken."""
    head = ("Scope", "Unmaps that took", "All back", "Refaults", "Time", "Time per unmap")
    rows = []
    for scope, cost in found.follower.costs.scopes.items():
        took = cost.unmaps - cost.took_nothing
        if took:
            row = (number(took), number(cost.back), number(cost.refaults))
            rows.append((scope, *row, duration(cost.refault_ns), duration(cost.refault_ns / took)))
    return Table(head, rows)


def worst_unmaps(found: Findings) -> Table:
    """The notifiers' shadow unmaps that cost most refault time."""
    head = (
        *("At", "VM", "MMU", "Scope", "Notifier's range", "Took", "Unmap", "Refaults"),
        *("Refault time", "All back after"),
    )
    start = found.timeline.start_ns
    rows = [
        (
            duration(max(0, unmap.time_ns - start)),
            f"{unmap.vm}",
            f"{unmap.mmu:#x}",
            f"{unmap.scope}, {name(unmap.reason)}" if unmap.reason else unmap.scope,
            f"{unmap.canonical_ipa:#x}, {size(unmap.canonical_size)}",
            size(unmap.taken_bytes),
            duration(unmap.duration_ns),
            number(unmap.refaults),
            duration(unmap.refault_ns),
            duration(unmap.back_ns - unmap.time_ns) if unmap.back_ns else "not all",
        )
        for unmap in found.follower.costs.worst()
    ]
    return Table(head, rows, frozenset({0, 2, 3, 4}))
