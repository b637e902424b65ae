"""The report as one HTML page that needs nothing else: no network, no other file, no script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from nvscope.lab.series.report.junit import printable
from nvscope.lab.series.report.markdown import cost, revmap, taken
from nvscope.lab.series.report.report import EXIT_NOT_TRIED, EXIT_RIGHT, MEASURES, TITLES

VERDICTS = {EXIT_RIGHT: "Nothing is wrong", EXIT_NOT_TRIED: "Not everything could be tried"}


def page(data: Mapping[str, Any]) -> str:
    """The page of a report."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(_text),
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    costs = {(row["subject"], row["measure"]): cost(row) for row in data["costs"]}
    said = {
        (row["subject"], row["measure"]): row.get("change", {}).get("said", "")
        for row in data["costs"]
    }
    measured = {row["measure"] for row in data["costs"]}
    words = {
        **data,
        "style": Markup(_text("style.css")),  # our own file
        "verdict": _verdict(data),
        "titles": TITLES,
        "measures": {name: title for name, title in MEASURES.items() if name in measured},
        "revmap": revmap,
        "taken": taken(data["subjects"]),
        "not_tried": _together(data["not_tried"]),
        "costs": costs,
        "said": said,
    }
    return environment.get_template("page.html").render(words)


def _verdict(data: Mapping[str, Any]) -> str:
    if data["left"] and data["exit_code"] == EXIT_NOT_TRIED:
        return "Not finished yet"
    return VERDICTS.get(data["exit_code"], "Something is wrong")


def _together(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of what was not tried that differ in their subject alone, as one.

    >>> row = {"check": "linux", "items": ["linux"], "outcome": "left out", "why": "--quick"}
    >>> [each["subjects"] for each in _together([{"subject": "a", **row}, {"subject": "b", **row}])]
    [['a', 'b']]
    """
    found: dict[tuple[str, tuple[str, ...], str, str], list[str]] = {}
    for row in rows:
        key = (row["check"], tuple(row["items"]), row["outcome"], row["why"])
        found.setdefault(key, []).append(row["subject"])
    names = ("check", "items", "outcome", "why")
    return [{**dict(zip(names, key, strict=True)), "subjects": on} for key, on in found.items()]


def _text(file: str) -> str:
    return (resources.files(__package__) / file).read_text(encoding="utf-8")
