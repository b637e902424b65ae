"""What PromQL expressions name and what the exporter has: for the tests of rules and panels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import promql_parser as promql
import psutil
import pytest
from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.parser import text_string_to_metric_families

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.reloads import Reloads
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.settings.config import WebConfig
from nvscope.probes.counts.snapshot import VmKey
from tests.unit.exporter.fakes import FakeHost, FakeProc, FakeSource, busy

# Those that Prometheus gives each series; the cluster is the user's (alerts/recording.yml).
OF_TARGETS = {"job", "instance", "cluster"}

# Metric -> label -> the values seen; a label that no series has is not there.
Names = dict[str, dict[str, set[str]]]


@dataclass
class Used:
    """selectors: (metric, {label: value where it is matched by ==, else None}); grouped: labels
    that aggregations and matchings name.
    """

    selectors: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)


def used(expression: str) -> Used:
    """The metrics and labels in an expression; Grafana's interval is taken for 5m."""
    found = Used()
    tree = promql.parse(expression.replace("$__rate_interval", "5m"))
    promql.walk(tree, lambda node: _note(node, found))
    return found


def _note(node: Any, found: Used) -> None:
    if isinstance(node, promql.VectorSelector):
        equal = promql.MatchOp.Equal
        matchers = {m.name: m.value if m.op == equal else None for m in node.matchers.matchers}
        found.selectors.append((node.name, matchers))
    elif isinstance(node, promql.AggregateExpr) and node.modifier:
        found.grouped.update(node.modifier.labels)
    elif isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
        found.grouped.update(node.modifier.matching.labels)


def problems(expression: str, names: Names) -> Iterator[str]:
    """What an expression names and the exporter does not have."""
    found = used(expression)
    labels = set(OF_TARGETS)
    for metric, matchers in found.selectors:
        if metric not in names:
            yield f"no metric {metric}"
            continue
        labels |= names[metric].keys()
        for label, value in matchers.items():
            if label in OF_TARGETS:
                continue
            if label not in names[metric]:
                yield f"{metric} has no label {label}"
            elif value is not None and value not in names[metric][label]:
                yield f"{metric} is never with {label}={value}"
    yield from (f"no label {label} in {expression}" for label in found.grouped - labels)


def exported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    """All that the exporter serves, of hosts with and without a reverse map."""
    proc = FakeProc(folder / "proc")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc.root))
    for pid in (40, 50):
        proc.start(pid)
    names: Names = {"up": {}}
    for revmap in ("maple", "none"):
        registry = CollectorRegistry()
        source = FakeSource(busy(VmKey(1, 40), VmKey(2, 50)), host=FakeHost(revmap=revmap))
        registry.register(VmCollector(source))
        context = click.Context(click.Command("export"))
        registry.register(Reloads(context, folder, Authentication(WebConfig())))
        ProcessCollector(registry=registry)
        page = exposition.generate_latest(registry).decode()
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                labels = names.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return names
