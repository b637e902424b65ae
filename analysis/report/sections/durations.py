"""How long things took: histograms, percentiles, and these over time."""

from __future__ import annotations

from nvscope.analysis.report.drawing import charts
from nvscope.analysis.report.measures.gather import Findings
from nvscope.analysis.report.measures.latency import Latency
from nvscope.analysis.report.measures.tally import SERIES
from nvscope.analysis.report.sections.shapes import Chart, Table
from nvscope.analysis.units import duration, number

QUANTILES = (0.5, 0.9, 0.99, 0.999)


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
