"""The dashboard's JSON: well formed, up to date, and of metrics that the exporter has."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nvscope.exporter.dashboards import make
from tests.unit.exporter.promql import exported, problems

BOARD: dict[str, Any] = json.loads(make.OUTPUT.read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]
VARIABLES: list[dict[str, Any]] = BOARD["templating"]["list"]


def _expressions() -> Iterator[str]:
    for chart in CHARTS:
        yield from (target["expr"] for target in chart["targets"])
    for variable in VARIABLES[1:]:
        metric, label = re.fullmatch(
            r"label_values\((.*), (\w+)\)", variable["definition"]
        ).groups()  # type: ignore[union-attr]
        yield f"count by ({label}) ({metric})"


def test_the_file_is_what_makes_it() -> None:
    assert make.OUTPUT.read_text() == make.text(), "run python -m nvscope.exporter.dashboards.make"


def test_panels_show_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = exported(tmp_path, monkeypatch)
    wrong = [problem for expression in _expressions() for problem in problems(expression, names)]
    assert wrong == []


def test_every_counted_metric_has_a_panel() -> None:
    queries = " ".join(_expressions())
    for metric in re.findall(r"`(nvscope_\w+)`", _metrics_table()):
        if metric not in ("nvscope_host_info", "nvscope_build_info"):
            assert metric in queries, metric


def _metrics_table() -> str:
    page = (Path(__file__).resolve().parents[3] / "docs/metrics.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `nvscope_")]
    assert len(rows) > 10
    return "\n".join(rows)


def test_ids_are_unique() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    for chart in CHARTS:
        refs = [target["refId"] for target in chart["targets"]]
        assert len(set(refs)) == len(refs)


def test_panels_do_not_overlap() -> None:
    for one, other in itertools.combinations([panel["gridPos"] for panel in PANELS], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    for grid in (panel["gridPos"] for panel in PANELS):
        assert 0 <= grid["x"] < grid["x"] + grid["w"] <= make.GRID_COLUMNS


def test_the_data_source_is_a_variable_everywhere() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert VARIABLES[0]["type"] == "datasource"
    askers = [*CHARTS, *VARIABLES[1:], *(target for chart in CHARTS for target in chart["targets"])]
    assert all(asker["datasource"] == chosen for asker in askers)


def test_host_and_vm_can_be_chosen() -> None:
    assert [variable["name"] for variable in VARIABLES] == ["datasource", "host", "vm"]
    for chart in CHARTS:
        for target in chart["targets"]:
            assert 'instance=~"$host"' in target["expr"], chart["title"]
            assert "$vm" in target["expr"] or not re.search(r"\bvm\b", target["expr"])


def test_every_panel_has_a_unit() -> None:
    units = {chart["title"]: chart["fieldConfig"]["defaults"]["unit"] for chart in CHARTS}
    known = {"s", "ops", "Bps", "bytes", "percentunit", "short", "dateTimeFromNow"}
    assert set(units.values()) <= known
    assert len(units) >= 20


def test_the_rows() -> None:
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == [
        "Overview",
        "Latencies",
        "Full against ranged",
        "Refaults",
        "Reverse map",
        "The exporter",
    ]
    heatmaps = [chart for chart in CHARTS if chart["type"] == "heatmap"]
    assert heatmaps
    assert all(target["format"] == "heatmap" for h in heatmaps for target in h["targets"])
