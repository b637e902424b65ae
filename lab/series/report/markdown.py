"""The one table of subjects and checks, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nvscope.lab.series.checks.facts import ON, UNKNOWN
from nvscope.lab.series.report.bounds import CHEAPER, DEARER
from nvscope.lab.series.report.report import MEASURES

FULL_UNMAPS = "whole shadow MMUs unmapped by notifiers"
OVER_UNMAP = "shadow mappings unmapped by notifiers, for each that had to go"


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
    found.append(("kernel", *(subject["kernel"] or "-" for subject in subjects)))
    found.append(("reverse map", *map(revmap, subjects)))
    for check in data["checks"]:
        if check["name"] != "cost":
            cells = (subject["cells"].get(check["name"], "-") for subject in subjects)
            found.append((check["title"], *cells))
    found += taken(subjects)
    for measure, title in MEASURES.items():
        costs = {row["subject"]: cost(row) for row in data["costs"] if row["measure"] == measure}
        if costs:
            cells = (costs.get(name, "-") for name in names)
            found.append((f"{title}, instructions", *cells))
    return found


def taken(subjects: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of what notifiers took, in all traces of a subject; none where there is no trace."""
    figures = [subject["figures"] for subject in subjects]
    if not any(figures):
        return []
    return [(FULL_UNMAPS, *map(_full_unmaps, figures)), (OVER_UNMAP, *map(_over_unmap, figures))]


def _full_unmaps(figures: Mapping[str, int]) -> str:
    """
    >>> _full_unmaps({"notifiers": 1300, "full_unmaps": 12, "unmapped": 36, "needed": 15})
    '12, in 1,300 notifiers'
    """
    return f"{figures['full_unmaps']:,}, in {figures['notifiers']:,} notifiers" if figures else "-"


def _over_unmap(figures: Mapping[str, int]) -> str:
    """
    >>> _over_unmap({"notifiers": 13, "full_unmaps": 12, "unmapped": 36, "needed": 15})
    '2.40'
    """
    needed = figures.get("needed")
    return f"{figures['unmapped'] / needed:.2f}" if needed else "-"


def revmap(subject: Mapping[str, Any]) -> str:
    """What a subject's reverse map is.

    >>> revmap({"revmap": "on", "kind": "tracking"}), revmap({"revmap": "off", "kind": "maple"})
    ('on (tracking)', 'off')
    >>> [revmap({"revmap": "unknown", "kind": kind}) for kind in ("none", "unknown")]
    ['unknown (none seen)', "unknown (another's)"]
    >>> revmap({"revmap": "", "kind": ""})
    '-'
    """
    how, kind = subject["revmap"], subject["kind"]
    found = "another's" if kind == UNKNOWN else f"{kind} seen"
    said = {ON: f"{how} ({kind})", UNKNOWN: f"{how} ({found})"}
    return said.get(how, how) or "-"


def cost(row: Mapping[str, Any]) -> str:
    """What something costs, and how that compares with the base.

    >>> cost({"value": 1234.5, "change": {"ratio": 2.5, "low": 2.0, "high": 3.0, "said": "dearer"}})
    '1,234 (2.5 times dearer, 2 to 3)'
    >>> cost({"value": 5, "change": {"ratio": 0.9, "low": 0.88, "high": 0.92, "said": "cheaper"}})
    '5 (10 % cheaper, 8 to 12 %)'
    """
    said, change = f"{row['value']:,.0f}", row.get("change")
    if not change:
        return said
    how, low, high = change["said"], change["low"], change["high"]
    if how == CHEAPER and low and change["ratio"]:
        return f"{said} ({_more(1 / change['ratio'], 1 / high, 1 / low, how)})"
    if how == DEARER and high is not None:
        return f"{said} ({_more(change['ratio'], low, high, how)})"
    return f"{said} ({how}: {_number(low)} to {_number(high)} times)"


def _more(ratio: float, low: float, high: float, how: str) -> str:
    """How much dearer or cheaper; ratios of 1 and more."""
    if ratio >= 2:
        return f"{_number(ratio)} times {how}, {_number(low)} to {_number(high)}"
    if how == CHEAPER:
        ratio, low, high = (2 - 1 / each for each in (ratio, low, high))
    shares = (f"{(each - 1) * 100:.2g}" for each in (ratio, low, high))
    return "{} % {how}, {} to {} %".format(*shares, how=how)


def _number(value: float | None) -> str:
    if value is None:
        return "∞"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")
