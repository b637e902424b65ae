"""What a dashboard consists of: rows of panels with their queries and units."""

from __future__ import annotations

from dataclasses import dataclass

# Grafana's names of units; a rate of seconds a second is a share of a CPU's time.
SECONDS, PER_SECOND, BYTES_PER_SECOND, SHARE, PLAIN = "s", "ops", "Bps", "percentunit", "short"


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the text of its legend."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """kind: Grafana's panel type; width: columns, of 24; note: shown on hovering; mapped: 1 is good
    and 0 is bad.
    """

    title: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 12
    note: str = ""
    mapped: bool = False


@dataclass(frozen=True)
class PanelRow:
    """A row of the dashboard, of one height."""

    title: str
    panels: tuple[Panel, ...]
    height: int = 8
