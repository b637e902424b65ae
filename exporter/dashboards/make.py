"""Writes nvscope.json out of panels.py: `.venv/bin/python -m nvscope.exporter.dashboards.make`.

The JSON is what Grafana imports; the little of its model that we use is here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvscope.exporter.dashboards.model import Panel, PanelRow
from nvscope.exporter.dashboards.panels import ROWS

OUTPUT = Path(__file__).with_name("nvscope.json")

# Of Grafana 11; older ones take it too, newer ones bring it up to date by themselves.
SCHEMA_VERSION = 39
GRID_COLUMNS = 24

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_Json = dict[str, Any]


def dashboard() -> _Json:
    """The dashboard as Grafana's JSON model."""
    return {
        "uid": "nvscope",
        "title": "nvscope: nested virtualization",
        "tags": ["kvm", "nvscope"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # one crosshair in all panels
        "refresh": "1m",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": list(_panels()),
    }


def text() -> str:
    """The file's contents."""
    return json.dumps(dashboard(), indent=1) + "\n"


def _variables() -> list[_Json]:
    return [
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
        },
        _labels("host", "Host", "label_values(nvscope_up, instance)"),
        _labels("vm", "VM", 'label_values(nvscope_vm_info{instance=~"$host"}, vm)'),
    ]


def _labels(name: str, label: str, query: str) -> _Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,  # when the time range changes: VMs come and go
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels() -> Iterator[_Json]:
    ids = itertools.count(1)
    y = 0
    for row in ROWS:
        grid = {"x": 0, "y": y, "w": GRID_COLUMNS, "h": 1}
        yield {
            "id": next(ids),
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": grid,
            "panels": [],
        }
        y += 1
        for panel, x, below in _places(row):
            grid = {"x": x, "y": y + below, "w": panel.width, "h": row.height}
            yield {"id": next(ids), "gridPos": grid, **_panel(panel)}
        y += below + row.height


def _places(row: PanelRow) -> Iterator[tuple[Panel, int, int]]:
    """Each panel with its column and its line below the row's first, from left to right."""
    x = below = 0
    for panel in row.panels:
        if x + panel.width > GRID_COLUMNS:
            x, below = 0, below + row.height
        yield panel, x, below
        x += panel.width


def _panel(panel: Panel) -> _Json:
    defaults: _Json = {"unit": panel.unit}
    if panel.mapped:
        shown = {"0": {"text": "no", "color": "red"}, "1": {"text": "yes", "color": "green"}}
        defaults["mappings"] = [{"type": "value", "options": shown}]
    made: _Json = {
        "type": panel.kind,
        "title": panel.title,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": [_target(panel, number) for number in range(len(panel.queries))],
    }
    return made | ({"description": panel.note} if panel.note else {})


def _target(panel: Panel, number: int) -> _Json:
    query = panel.queries[number]
    return {
        "refId": chr(ord("A") + number),
        "datasource": _DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": panel.kind == "stat",
        "range": panel.kind != "stat",
        "format": "heatmap" if panel.kind == "heatmap" else "time_series",
    }


def _options(panel: Panel) -> _Json:
    if panel.kind == "heatmap":
        # The buckets come as they are, and their bounds are seconds.
        return {"calculate": False, "yAxis": {"unit": panel.unit}, "color": {"scheme": "Oranges"}}
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    return {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list"}}


if __name__ == "__main__":
    OUTPUT.write_text(text())
