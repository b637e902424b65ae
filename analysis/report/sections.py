"""The page's sections as plain data: titles, tables and pictures, no HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from markupsafe import Markup

from nvscope.analysis.report.drawing import charts
from nvscope.analysis.report.measures.gather import Findings
from nvscope.analysis.report.measures.latency import Latency
from nvscope.analysis.report.measures.tally import SERIES
from nvscope.analysis.report.measures.unmaps import Cost
from nvscope.analysis.report.measures.vms import Shadow, Vm
from nvscope.analysis.units import duration, name, number, ratio, share, size
from nvscope.probes.traces.events import About

QUANTILES = (0.5, 0.9, 0.99, 0.999)
SCOPES = ("full", "ranged")  # of a shadow unmap: the css classes, too
WITHIN = ("notifier", "tlbi", "recycling", "other")
MAX_COMMS = 10


@dataclass(frozen=True)
class Figure:
    """A headline figure. grave: that it is not 0 is bad news."""

    title: str
    value: str
    note: str = ""
    grave: bool = False


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column names the row, those in `words` are words, not numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset({0})
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A picture, its title, and the key to its colours: (css class, text)."""

    title: str
    svg: Markup
    key: Sequence[tuple[str, str]] = field(default=())


def headlines(found: Findings) -> list[Figure]:
    """What to see first."""
    latencies, costs = found.tally.latencies, found.follower.costs
    full, ranged = latencies["full"].count, latencies["ranged"].count
    fallbacks = found.tally.kinds["fallback"]
    both = costs.scopes["full"], costs.scopes["ranged"]
    taken, needed = (sum(cost.taken_bytes for cost in both), sum(c.needed_bytes for c in both))
    refault_ns = sum(cost.refault_ns for cost in both)
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
            ratio(taken, needed),
            f"notifiers took {size(taken)} of shadow mappings, {size(needed)} had to go",
        ),
        Figure(
            "Refault time",
            duration(refault_ns),
            f"in {number(sum(c.refaults for c in both))} shadow faults after notifier unmaps",
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


def about(found: Findings, path_name: str) -> list[tuple[str, str]]:
    """What the trace is."""
    said, tally = found.about, found.tally
    elapsed = max(0, tally.last_ns - tally.first_ns)
    rows = [
        ("File", name(path_name, 200)),
        ("Host", _host(said)),
        ("Kernel", " ".join(filter(None, (name(said.kernel), name(said.arch)))) or "not said"),
        ("Reverse map", name(said.revmap)),
        ("Began", _wall_clock(said.started_unix_ns)),
        ("Duration", f"{duration(elapsed)} from the first row to the last"),
        ("Rows", number(tally.rows)),
        ("Boot", name(said.boot_id) or "not said"),
        ("Recorded by", name(said.recorder) or "not said"),
        *([("Points file", name(said.points, 120))] if said.points else []),
        ("Ending", f"cut short: {name(found.ending, 200)}" if found.ending else "complete"),
    ]
    if tally.unknown_rows:
        rows.append(("Not understood", f"{number(tally.unknown_rows)} rows of unknown kinds"))
    return rows


def _host(said: About) -> str:
    if not said.host:
        return "not said"
    kind = "emulated: no performance figures" if said.machine == "emulated" else name(said.machine)
    return f"{name(said.host)} ({kind})" if kind else name(said.host)


def probes(found: Findings) -> Table:
    """What was attached where."""
    rows = [
        (name(point), name(hook) or "not attached")
        for point, hook in list((found.about.probes or {}).items())[:64]
    ]
    return Table(("Probe point", "Attached by"), rows, frozenset({0, 1}))


def rows_by_kind(found: Findings) -> Table:
    """How many rows there are of each kind."""
    return Table(
        ("Kind", "Rows"), [(kind, number(n)) for kind, n in found.tally.kinds.most_common()]
    )


def histograms(latencies: dict[str, Latency], names: dict[str, str]) -> list[Chart]:
    """A histogram for each series that has any durations, all on one axis."""
    there = {series: latency for series, latency in latencies.items() if latency.count}
    if not there:
        return []
    axis = charts.common_axis(list(there.values()))
    return [
        Chart(
            f"{names[series]} ({number(latency.count)})",
            charts.histogram(names[series], series, latency, axis),
        )
        for series, latency in there.items()
    ]


def quantiles(latencies: dict[str, Latency], names: dict[str, str]) -> Table:
    """Percentiles of each series."""
    head = ("Duration of", "Count", "p50", "p90", "p99", "p99.9", "Longest", "Sum")
    rows = [
        (
            names[series],
            number(latency.count),
            *(duration(latency.quantile(q)) for q in QUANTILES),
            duration(latency.max_ns),
            duration(latency.total_ns),
        )
        for series, latency in latencies.items()
        if latency.count
    ]
    return Table(head, rows)


def over_time(found: Findings, used: int) -> list[Chart]:
    """The percentiles of each series over time."""
    drawn = []
    for series, called in SERIES.items():
        svg = charts.percentiles(f"{called}: p50, p99, max", series, found.timeline, series, used)
        if svg:
            drawn.append(Chart(called, svg))
    return drawn


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
    costs = found.follower.costs.scopes
    rows = [_over_unmap_row(scope, cost) for scope, cost in costs.items() if cost.unmaps]
    if len(rows) > 1:
        both = Cost()
        for cost in costs.values():
            both.unmaps += cost.unmaps
            both.took_nothing += cost.took_nothing
            both.taken_bytes += cost.taken_bytes
            both.needed_bytes += cost.needed_bytes
        rows.append(_over_unmap_row("both", both))
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


def _wall_clock(unix_ns: int) -> str:
    if not unix_ns:
        return "not said"
    try:
        return datetime.fromtimestamp(unix_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError, TypeError):
        return "at a time that makes no sense"


def mmus(vm: Vm) -> Table:
    """What happened to each shadow MMU of a VM."""
    head = (
        *("MMU", "Maps", "Faults", "Fault time", "Unmaps, full", "Unmaps, ranged"),
        *("Most mapped", "Recycled", "Fallbacks", "Broken", "Records"),
    )
    return Table(head, [_mmu(mmu) for mmu in vm.mmus.values()], frozenset({0, 10}))


def _mmu(mmu: Shadow) -> tuple[str, ...]:
    counts = mmu.counts
    records = {
        key.removeprefix("record "): n for key, n in counts.items() if key.startswith("record ")
    }
    return (
        f"{mmu.address:#x}",
        _with_failed(counts, "map"),
        _with_failed(counts, "fault"),
        duration(mmu.fault_ns),
        number(counts["unmap full"]),
        number(counts["unmap ranged"]),
        size(mmu.peak_bytes),
        number(counts["mmu_recycle"]),
        number(counts["fallback"]),
        number(counts["broken"]),
        ", ".join(f"{number(n)} {what}" for what, n in records.items()) or "none",
    )


def _with_failed(counts: Counter[str], what: str) -> str:
    failed = counts[f"{what} failed"]
    return f"{number(counts[what])} (+ {number(failed)} failed)" if failed else number(counts[what])
