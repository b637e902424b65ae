"""A live table of an exporter's metrics, or lines of what has changed."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from nvscope.lab.host.services import Metrics
from nvscope.lab.runs import watch
from nvscope.lab.runs.watch import Span


class FakeExporter:
    """Each scrape has an unmap more, or none."""

    url = "http://127.0.0.1:9810/metrics"

    def __init__(self, grows: bool) -> None:
        self.grows, self.scrapes = grows, 0

    def scrape(self) -> Metrics:
        self.scrapes += 1
        unmaps = self.scrapes if self.grows else 1
        return Metrics(
            "# TYPE nvscope_shadow_unmaps_total counter\n"
            f'nvscope_shadow_unmaps_total{{vm="demo",scope="full"}} {unmaps}\n'
        )


def watched(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, grows: bool, note: Callable[[], str]
) -> str:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=80, highlight=False)
    monkeypatch.setattr(watch, "console", console)
    clock = iter(range(0, 10**6, 5))
    now = [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(watch.time, "sleep", lambda _: now.__setitem__(0, float(next(clock))))
    exporter: Any = FakeExporter(grows)
    watch.watch(exporter, Span("for 60 s", lambda passed: passed >= 60, note))
    return out.getvalue()


def test_lines_are_of_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = watched(monkeypatch, terminal=False, grows=False, note=lambda: "")
    assert said.count("demo: ") == 1
    said = watched(monkeypatch, terminal=False, grows=True, note=lambda: "")
    assert said.count("demo: ") > 10


def test_the_note_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = iter(range(1000))
    said = watched(
        monkeypatch, terminal=False, grows=False, note=lambda: f"building: {next(minutes)} %"
    )
    assert 3 <= said.count("building: ") <= 4


def test_the_note_is_below_a_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    said = watched(monkeypatch, terminal=True, grows=True, note=lambda: "building: 34 %")
    assert said.count("building: 34 %") > 10
