"""A comparison for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import nvscope
from nvscope.analysis.compare.caveats import unmatched
from nvscope.analysis.compare.compared import Comparison
from nvscope.analysis.compare.metrics import Estimate, MetricRow
from nvscope.analysis.compare.runs import Run


def as_dict(found: Comparison) -> dict[str, Any]:
    """JSON's types only. Durations are in ns; null is "no bound", or a value of no calls."""
    return {
        "nvscope": nvscope.__version__,
        "kind": "comparison",
        "probe": found.a.probe,
        **asdict(found.plan),
        "a": _run(found.a),
        "b": _run(found.b),
        "lost": _row(found.lost),
        "groups": [
            {"labels": dict(labels), "metrics": {row.metric: _row(row) for row in rows}}
            for labels, rows in found.groups.items()
        ],
        "only_in_a": [dict(labels) for labels in unmatched(found.a, found.b)],
        "only_in_b": [dict(labels) for labels in unmatched(found.b, found.a)],
        "conditions": [
            {
                "condition": verdict.condition.text,
                "labels": dict(verdict.labels),
                "holds": verdict.holds,
                "failed": verdict.failed,
            }
            for verdict in found.verdicts
        ],
        "warnings": list(found.caveats),
        "failed": found.failed,
    }


def _run(run: Run) -> dict[str, Any]:
    host = {"kernel": run.kernel, "arch": run.arch, "revmap": run.revmap}
    return {"name": run.name, "seconds": run.seconds, "host": host, "lost": dict(run.lost)}


def _row(row: MetricRow) -> dict[str, Any]:
    parts = {"a": row.a, "b": row.b, "difference": row.difference, "ratio": row.ratio}
    return {"unit": row.unit, **{key: _estimate(part) for key, part in parts.items()}}


def _estimate(of: Estimate) -> dict[str, float | None]:
    return {key: number if math.isfinite(number) else None for key, number in asdict(of).items()}
