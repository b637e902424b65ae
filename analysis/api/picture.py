"""Durations as a picture that a notebook shows: the report's own histogram, for itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from nvscope.probes.errors import InputError

_WIDTH_PX, _TITLE_PX, _HEIGHT_PX = 640, 20, 110
# The report's, as far as it is needed here; a notebook's page may be light or dark.
_STYLE = """
.nvscope text { fill: #6b7580; font: 11px system-ui, sans-serif; }
.nvscope path { fill: none; vector-effect: non-scaling-stroke; stroke: #9aa5b1; }
.nvscope path.grid { stroke-opacity: .4; }
.nvscope path.mark { stroke: #c4490c; stroke-width: 1.5; }
.nvscope path.q99 { stroke-dasharray: 3 3; }
.nvscope rect { fill: #1f6fb2; }
"""


class Picture:
    """An image, as SVG; printed, it is what it shows in a line. A notebook shows it as it is."""

    def __init__(self, svg: str, said: str) -> None:
        self.svg = svg
        self._said = said

    def __repr__(self) -> str:
        return self._said

    def _repr_svg_(self) -> str:
        return self.svg


def histogram(durations_ns: Iterable[Any] | pa.ChunkedArray, title: str) -> Picture:
    """A histogram of durations, a bar an octave; lines mark the median and, dashed, the 99 %.

    durations_ns: (n,) ns, a column of a table; what is null is left out. The median is the
    histogram's, within 6 %. Raises InputError for what is no duration.

    >>> histogram([1000, 1500, 3000, None], "unmaps")
    unmaps: 3 durations, median about 1.47 µs, longest 3 µs
    """
    from nvscope.analysis.report.drawing.charts import common_axis
    from nvscope.analysis.report.drawing.charts import histogram as chart
    from nvscope.analysis.report.drawing.svg import tag
    from nvscope.analysis.report.measures.latency import Latency
    from nvscope.analysis.units import duration, name

    latency, title = Latency(), name(title)
    latency.add(_durations(durations_ns))
    figure = chart(title, "", latency, common_axis([latency]))
    median, longest = duration(latency.quantile(0.5)), duration(latency.max_ns)
    told = f"{latency.count:,} durations, median about {median}, longest {longest}"
    said = f"{title}: {told if latency.count else 'no durations'}"
    svg = tag(
        "svg",
        tag("style", _STYLE),
        tag("text", said, x=0, y=_TITLE_PX - 8),
        tag("svg", figure, y=_TITLE_PX, width=_WIDTH_PX),
        xmlns="http://www.w3.org/2000/svg",
        class_="nvscope",
        width=_WIDTH_PX,
        height=_HEIGHT_PX,
    )
    return Picture(str(svg), said)


def _durations(given: Iterable[Any] | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """(n,) uint64. Raises InputError."""
    try:
        array = given if isinstance(given, pa.Array | pa.ChunkedArray) else pa.array(given)
        return np.asarray(array.drop_null().cast(pa.uint64()).to_numpy())
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"these are no durations in ns ({error})") from None
