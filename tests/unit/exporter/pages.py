"""Pages of the exporter, read back with both of prometheus_client's parsers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from nvscope.exporter.collector import VmCollector
from tests.unit.exporter.fakes import FakeSource

Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _page(samples: list[Sample]) -> Page:
    page = {(s.name, frozenset(s.labels.items())): s.value for s in samples}
    assert len(page) == len(samples), "a series is there twice"
    return page


def as_text(registry: CollectorRegistry) -> Page:
    text = exposition.generate_latest(registry).decode()
    return _page([s for f in text_string_to_metric_families(text) for s in f.samples])


def as_openmetrics(registry: CollectorRegistry) -> Page:
    text = openmetrics.generate_latest(registry).decode()
    families = openmetrics_parser.text_string_to_metric_families(text)
    return _page([s for f in families for s in f.samples])


both_formats = pytest.mark.parametrize("scrape", [as_text, as_openmetrics])
Scrape = Callable[[CollectorRegistry], Page]


def registry_of(source: FakeSource) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(VmCollector(source))
    return registry


def value(page: Page, name: str, **labels: str) -> float:
    return page[(name, frozenset(labels.items()))]


def first(page: Page, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by the labels but vm, sorted by name."""
    series = ((dict(pairs), value) for (of, pairs), value in page.items() if of == name)
    return {tuple(v for k, v in sorted(at.items()) if k != "vm"): value for at, value in series}
