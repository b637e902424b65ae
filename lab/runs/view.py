"""The demo's picture of an exporter: what each VM did, from two scrapes. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich import box
from rich.table import Table

from nvscope.lab.host.services import Metrics

UNMAPS = "nvscope_notifier_unmap_duration_seconds"
FAULTS = "nvscope_s2_fault_duration_seconds_count"
SHADOW_UNMAPS = "nvscope_shadow_unmaps_total"


@dataclass(frozen=True)
class ViewRow:
    """Counters of one VM; p50 and p99: of its notifier unmaps, in seconds, or NaN."""

    vm: str
    notifier_unmaps: int
    full: int
    ranged: int
    canonical_faults: int
    shadow_faults: int
    p50: float
    p99: float

    @property
    def events(self) -> int:
        """All that was counted of it."""
        return self.notifier_unmaps + self.canonical_faults + self.shadow_faults


def rows(metrics: Metrics) -> list[ViewRow]:
    """One row a VM, by name."""
    names = {
        sample.labels["vm"]
        for name in (FAULTS, f"{UNMAPS}_count", SHADOW_UNMAPS)
        for sample in metrics.select(name)
    }
    return [_row(metrics, name) for name in sorted(names)]


def _row(metrics: Metrics, vm: str) -> ViewRow:
    buckets = {
        float(edge): count
        for edge, count in metrics.values(f"{UNMAPS}_bucket", "le", vm=vm).items()
    }
    return ViewRow(
        vm,
        int(metrics.sum(f"{UNMAPS}_count", vm=vm)),
        int(metrics.sum(SHADOW_UNMAPS, vm=vm, scope="full")),
        int(metrics.sum(SHADOW_UNMAPS, vm=vm, scope="ranged")),
        int(metrics.sum(FAULTS, vm=vm, stage="canonical")),
        int(metrics.sum(FAULTS, vm=vm, stage="shadow")),
        quantile(buckets, 0.5),
        quantile(buckets, 0.99),
    )


def quantile(buckets: Mapping[float, float], q: float) -> float:
    """The q-quantile of a cumulative histogram (upper edge -> count), as PromQL estimates it.

    >>> quantile({1.0: 0, 2.0: 10, float("inf"): 10}, 0.5)
    1.5
    >>> quantile({1.0: 0, float("inf"): 0}, 0.5)
    nan
    """
    edges = sorted(buckets)
    total = buckets[edges[-1]] if edges else 0
    if not total:
        return float("nan")
    below_edge, below_count = 0.0, 0.0
    for edge in edges:
        count = buckets[edge]
        if count >= q * total:
            if edge == float("inf"):
                return below_edge
            inside = (q * total - below_count) / (count - below_count)
            return below_edge + (edge - below_edge) * inside
        below_edge, below_count = edge, count
    return below_edge


def table(now: list[ViewRow], before: list[ViewRow], seconds: float, title: str) -> Table:
    """The rows as a table; with `before` (`seconds` ago), what was added since then too."""
    earlier = {row.vm: row for row in before}
    # No lines between columns and rates below counts: so it fits 80 characters.
    result = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    result.add_column("VM", overflow="fold")
    for heading in ("notifier unmaps", "full", "ranged", "canonical faults", "shadow faults"):
        result.add_column(heading, justify="right")
    result.add_column("unmap p50", justify="right")
    result.add_column("p99", justify="right")
    for row in now:
        old = earlier.get(row.vm)
        result.add_row(
            row.vm,
            _count(row.notifier_unmaps, old.notifier_unmaps if old else None, seconds),
            _count(row.full, old.full if old else None, seconds),
            _count(row.ranged, old.ranged if old else None, seconds),
            _count(row.canonical_faults, old.canonical_faults if old else None, seconds),
            _count(row.shadow_faults, old.shadow_faults if old else None, seconds),
            duration(row.p50),
            duration(row.p99),
        )
    return result


def both(sides: Mapping[str, list[ViewRow]]) -> Table:
    """What was counted on two kernels, side by side: a column for each, all its VMs added up."""
    result = Table(title="Both kernels", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    result.add_column("")
    for name in sides:
        result.add_column(name, justify="right")
    for heading, cell in CELLS.items():
        result.add_row(heading, *(cell(rows) for rows in sides.values()))
    return result


def _total(name: str) -> Callable[[list[ViewRow]], str]:
    return lambda rows: str(sum(getattr(row, name) for row in rows))


def _median(rows: list[ViewRow]) -> str:
    """Of the VM with most unmaps: medians do not add up."""
    return duration(max(rows, key=lambda row: row.notifier_unmaps).p50) if rows else "-"


CELLS: dict[str, Callable[[list[ViewRow]], str]] = {
    "notifier unmaps": _total("notifier_unmaps"),
    "full shadow unmaps": _total("full"),
    "ranged shadow unmaps": _total("ranged"),
    "shadow faults": _total("shadow_faults"),
    "median notifier unmap": _median,
}


def line(row: ViewRow) -> str:
    """The row as one line of text."""
    return (
        f"{row.vm}: {row.notifier_unmaps} notifier unmaps, shadow unmaps {row.full} full "
        f"{row.ranged} ranged, faults {row.canonical_faults} canonical {row.shadow_faults} shadow, "
        f"unmap p50 {duration(row.p50)} p99 {duration(row.p99)}"
    )


def duration(seconds: float) -> str:
    """A duration with its unit, three digits.

    >>> duration(0.000123), duration(0.734), duration(float("nan"))
    ('123 us', '734 ms', '-')
    """
    if seconds != seconds:
        return "-"
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _count(now: int, before: int | None, seconds: float) -> str:
    if before is None or seconds <= 0 or now == before:
        return str(now)
    return f"{now}\n+{(now - before) / seconds:.1f}/s"
