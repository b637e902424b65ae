"""The comparison's figures and how they are shown."""

from __future__ import annotations

from io import StringIO
from math import isnan

from rich.console import Console

from nvscope.lab.host.services import Metrics
from nvscope.lab.runs import compare
from nvscope.lab.runs.compare import UNITS, Figure

EXPOSITION = """\
# TYPE nvscope_notifier_unmap_duration_seconds histogram
nvscope_notifier_unmap_duration_seconds_bucket{vm="a",le="1.0"} 4
nvscope_notifier_unmap_duration_seconds_bucket{vm="a",le="+Inf"} 4
nvscope_notifier_unmap_duration_seconds_count{vm="a"} 4
nvscope_notifier_unmap_duration_seconds_count{vm="b"} 9
# TYPE nvscope_shadow_unmaps_total counter
nvscope_shadow_unmaps_total{vm="a",scope="full",within="notifier",reason="broken"} 1
nvscope_shadow_unmaps_total{vm="a",scope="full",within="recycling",reason="none"} 5
nvscope_shadow_unmaps_total{vm="a",scope="ranged",within="notifier",reason="none"} 3
# TYPE nvscope_refaults_total counter
nvscope_refaults_total{vm="a"} 12
"""


def test_figures_of_one_vm() -> None:
    found = compare.figures(Metrics(EXPOSITION), "a")
    assert found["notifier unmaps"] == 4
    assert found["notifier unmap p50"] == 0.5
    assert found["full shadow unmaps"] == 1
    assert found["refaults"] == 12
    assert set(found) <= set(UNITS)


def test_the_ratio_of_a_row() -> None:
    assert Figure("A", "x", "", 10, 4).ratio == 2.5
    assert isnan(Figure("A", "x", "", 10, 0).ratio)


def test_the_table_fits_80_columns() -> None:
    rows = [
        Figure("A", "notifier unmap of one page, 52-bit IPA", "instructions", 827313000, 13000),
        Figure("A", "shadow unmapped", "bytes", 101 * 2.0**48, 4096.0),
        Figure("B", "full shadow unmaps", "", 22, 0),
    ]
    out = StringIO()
    Console(file=out, width=80).print(compare.table(rows))
    lines = out.getvalue().splitlines()
    assert "827,313,000" in out.getvalue()
    assert "6.36e+04" in out.getvalue()
    assert "101 * 2^48" in out.getvalue()
    assert sum(line.lstrip().startswith(("A ", "B ")) for line in lines) == 2
    assert max(map(len, lines)) <= 80
