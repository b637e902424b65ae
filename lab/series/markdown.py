"""The one table of subjects and checks, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvscope.lab.series.report import MEASURES


def table(data: Mapping[str, Any]) -> str:
    """A column for each subject, a row for each check and each thing that was measured."""
    head, *others = rows(data)
    names = [f"`{_plain(name)}`" for name in head[1:]]
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in others]
    return "\n".join(lines) + "\n"


def rows(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells; the first row has the subjects' names."""
    subjects = data["subjects"]
    names = [subject["name"] for subject in subjects]
    found = [("", *names)]
    for title, key in (("kernel", "kernel"), ("reverse map", "revmap")):
        found.append((title, *(subject[key] or "-" for subject in subjects)))
    for check in data["checks"]:
        if check["name"] != "cost":
            cells = (subject["cells"].get(check["name"], "-") for subject in subjects)
            found.append((check["title"], *cells))
    for measure, title in MEASURES.items():
        costs = {row["subject"]: cost(row) for row in data["costs"] if row["measure"] == measure}
        if costs:
            cells = (costs.get(name, "-") for name in names)
            found.append((f"{title}, instructions", *cells))
    return found


def cost(row: Mapping[str, Any]) -> str:
    """What something costs, and how that compares.

    >>> cost({"value": 1234.5, "change": {"ratio": 2.0, "low": 1.9, "high": 2.1, "said": "dearer"}})
    '1,234 (2 times: dearer, 1.9 to 2.1)'
    """
    said = f"{row['value']:,.0f}"
    change = row.get("change")
    if not change:
        return said
    return f"{said} ({_number(change['ratio'])} times: {change['said']}, {_between(change)})"


def _between(change: Mapping[str, Any]) -> str:
    return f"{_number(change['low'])} to {_number(change['high'])}"


def _number(value: float | None) -> str:
    if value is None:
        return "∞"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")
