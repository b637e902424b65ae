"""The charts over durations and over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from nvscope.analysis.report.drawing.axes import LogAxis, time_ticks
from nvscope.analysis.report.drawing.svg import PLANE, Canvas, bar, horizontal, path, vertical
from nvscope.analysis.report.measures.latency import PARTS, Latency, quantile
from nvscope.analysis.report.measures.timeline import BINS, Timeline
from nvscope.analysis.units import duration, number

_HISTOGRAM = Canvas(height_px=64)
_OVER_TIME = Canvas(height_px=130, gutter=170)
QUANTILES = {0.5: "p50", 0.99: "p99", 1.0: "max"}


def common_axis(latencies: Sequence[Latency]) -> LogAxis:
    """An axis for several histograms to be compared on."""
    counts = np.sum([latency.counts for latency in latencies], axis=0)
    used = np.flatnonzero(counts) // PARTS
    return LogAxis(int(used[0]), int(used[-1]) + 1) if len(used) else LogAxis(0, 1)


def histogram(label: str, css: str, latency: Latency, axis: LogAxis) -> Markup:
    """One histogram, an octave a bar, with its median and its 99th percentile marked."""
    octaves = latency.octaves()[axis.low : axis.high]
    top = max(octaves, default=0) or 1
    wide = PLANE / (axis.high - axis.low)
    marks = [
        bar(
            wide * i + wide * 0.04,
            wide * 0.92,
            PLANE * (1 - max(n / top, 0.02)),
            PLANE,
            css,
            f"{duration(2.0 ** (axis.low + i))} to {duration(2.0 ** (axis.low + i + 1))}: "
            f"{number(n)}",
        )
        for i, n in enumerate(octaves)
        if n
    ]
    marks += [vertical(axis.at(latency.quantile(q)), f"mark q{q * 100:.0f}") for q in (0.5, 0.99)]
    ticks = axis.ticks()
    marks = [vertical(x) for x, _ in ticks] + marks + [horizontal(PLANE, "base")]
    said = (
        f"{label}: histogram of {number(latency.count)} durations, "
        f"median {duration(latency.quantile(0.5))}, longest {duration(latency.max_ns)}"
    )
    texts = [_HISTOGRAM.x_label(text, x) for x, text in ticks]
    return _HISTOGRAM.figure(said, marks, texts)


def bins_used(timeline: Timeline, last_ns: int) -> int:
    """How many bins there are until the end of the trace."""
    return min(timeline.at(last_ns) + 1, BINS)


def percentiles(label: str, css: str, timeline: Timeline, series: str, used: int) -> Markup:
    """Percentiles of a series of durations over time, on a log scale; "" where there are none."""
    table = timeline.table(series)
    if table is None:
        return Markup("")
    full = np.flatnonzero(table.sum(axis=0)) // PARTS
    axis = LogAxis(int(full[0]), int(full[-1]) + 1)
    wide = PLANE / used
    marks: list[str] = []
    for q, name in QUANTILES.items():
        for run in _runs(table[:used].sum(axis=1)):
            points = [(wide * (i + 0.5), PLANE - axis.at(quantile(table[i], q))) for i in run]
            marks.append(path(points, f"{css} line {name}"))
    return _over_time(label, marks, timeline, used, [(PLANE - y, t) for y, t in axis.ticks(4)])


def stacked(
    label: str,
    timeline: Timeline,
    series: Mapping[str, tuple[str, str]],
    used: int,
    unit: Callable[[float], str],
) -> Markup:
    """Sums over time, stacked. series: name in the timeline -> (css class, what it is called)."""
    values = {name: timeline.series(name)[:used] for name in series}
    top = float(sum(values.values(), np.zeros(used)).max()) if values else 0.0
    if not top:
        return Markup("")
    marks: list[str] = []
    floor = np.zeros(used)
    for name, (css, called) in series.items():
        marks += _bars(values[name], floor, top, css, called, unit)
        floor = floor + values[name]
    ticks = [(0.0, unit(top)), (PLANE / 2, unit(top / 2))]
    return _over_time(label, marks, timeline, used, ticks)


def _bars(
    values: npt.NDArray[np.float64],
    floor: npt.NDArray[np.float64],
    top: float,
    css: str,
    called: str,
    unit: Callable[[float], str],
) -> list[Markup]:
    wide = PLANE / len(values)
    return [
        bar(
            wide * i,
            wide * 0.9,
            PLANE * (1 - (floor[i] + values[i]) / top),
            PLANE * (1 - floor[i] / top),
            css,
            f"{called}: {unit(float(values[i]))}",
        )
        for i in np.flatnonzero(values)
    ]


def _over_time(
    label: str,
    marks: list[str],
    timeline: Timeline,
    used: int,
    heights: list[tuple[float, str]],
) -> Markup:
    ticks = time_ticks(timeline.width_ns, used)
    grid = [vertical(x) for x, _ in ticks] + [horizontal(y) for y, _ in heights]
    lost = [vertical(PLANE * i / used, "lost") for i in np.flatnonzero(timeline.series("lost"))]
    texts = [_OVER_TIME.x_label(text, x) for x, text in ticks]
    texts += [_OVER_TIME.y_label(text, y) for y, text in heights]
    return _OVER_TIME.figure(label, [*grid, *marks, *lost, horizontal(PLANE, "base")], texts)


def _runs(counts: npt.NDArray[np.int64]) -> list[list[int]]:
    """Stretches of bins in which there is something.

    >>> _runs(np.array([0, 1, 2, 0, 3]))
    [[1, 2], [4]]
    """
    runs: list[list[int]] = []
    for i in np.flatnonzero(counts):
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(int(i))
        else:
            runs.append([int(i)])
    return runs
