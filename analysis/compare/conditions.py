"""`--fail-if`: conditions in a small language, and what a comparison says of them.

    [LABEL=VALUE[,LABEL=VALUE]...:] METRIC >|< BOUND

BOUND is a ratio B / A (1.1x), a value of B (50us), or a difference B - A (+10us, -10us).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nvscope.analysis.compare.metrics import UNITS, Estimate, MetricRow
from nvscope.analysis.compare.runs import Labels

FORMS = ("ratio", "b", "difference")
# The unit of a metric -> how its bounds may be written, with what one is of that unit.
_SUFFIXES = {
    "ns": {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9},
    "/s": {"/s": 1.0},
    "": {"": 1.0},
}
_BOUNDS = {"ns": "1.1x, 50us or +10us", "/s": "1.1x, 50/s or +10/s", "": "1.1x, 50 or +10"}
_VALUE = r'"[^"]*"|[^\s",:=]+'

YES, NO, DOUBT = "yes", "no", "in doubt"


@dataclass(frozen=True)
class Condition:
    """What is not to be. form: of FORMS; limit: in the metric's unit, or a ratio."""

    text: str
    labels: Labels
    metric: str
    above: bool
    form: str
    limit: float

    def of(self, labels: Labels) -> bool:
        """Whether it is about a group; one without labels of its own is about all."""
        return set(self.labels) <= set(labels)

    def judged(self, row: MetricRow) -> Estimate:
        """What of a row it is about."""
        return {"ratio": row.ratio, "b": row.b, "difference": row.difference}[self.form]

    def holds(self, row: MetricRow) -> str:
        """YES or NO where that is beyond doubt, that is, for all of the interval; else DOUBT."""
        found = self.judged(row)
        if self._met(found.low) and self._met(found.high):
            return YES
        return DOUBT if self._met(found.low) or self._met(found.high) else NO

    def holds_by_estimate(self, row: MetricRow) -> bool:
        """Whether the estimate meets it. What has no estimate may: it was not shown not to."""
        value = self.judged(row).value
        return math.isnan(value) or self._met(value)

    def _met(self, value: float) -> bool:
        return value > self.limit if self.above else value < self.limit


def parse(text: str) -> Condition:
    """The condition in a text. Raises ValueError: what is wanted, and where.

    >>> parse("p99 > 1.1x").form, parse("p99 > 50us").limit, parse("mean < -2ms").limit
    ('ratio', 50000.0, -2000000.0)
    >>> parse('vm=alpha,stage="shadow": rate < 0.5x').labels
    (('vm', 'alpha'), ('stage', 'shadow'))
    >>> parse("p99 > fast")
    Traceback (most recent call last):
    ValueError: column 7, at 'fast': a bound is wanted, such as 1.1x, 50us or +10us
    """
    scan = _Scanner(text)
    labels = tuple(_labels(scan))
    start = scan.at
    metric = scan.take("|".join(map(re.escape, sorted(UNITS, key=len, reverse=True))))
    if not metric or scan.peek(r"[\w.=]"):
        raise scan.wrong(f"a metric is wanted: {', '.join(UNITS)}", start)
    if labels and metric == "lost":
        raise scan.wrong("lost is of a whole run: it has no labels", start)
    sign = scan.take("[<>]")
    if not sign:
        raise scan.wrong("> or < is wanted")
    form, limit = _bound(scan, UNITS[metric])
    if not scan.ended:
        raise scan.wrong("nothing more is wanted")
    return Condition(" ".join(text.split()), labels, metric, sign == ">", form, limit)


def _labels(scan: _Scanner) -> Iterable[tuple[str, str]]:
    if not scan.peek(r"\w+\s*="):
        return
    seen: set[str] = set()
    while True:
        name = scan.take(r"\w+")
        if not name or not scan.take("="):
            raise scan.wrong("LABEL=VALUE is wanted")
        if name in seen:
            raise scan.wrong(f"{name} is there twice already")
        value = scan.take(_VALUE)
        if not value:
            raise scan.wrong(f'the value of {name} is wanted, in "" if it has more than letters')
        seen.add(name)
        yield name, value.strip('"')
        if not scan.take(","):
            break
    if not scan.take(":"):
        raise scan.wrong("a : is wanted after the labels")


def _bound(scan: _Scanner, unit: str) -> tuple[str, float]:
    wanted = f"a bound is wanted, such as {_BOUNDS[unit]}"
    start = scan.at
    sign = scan.take(r"[+-](?=[\d.])")
    number = scan.take(r"\d{1,18}(?:\.\d{1,18})?")
    if not number:
        raise scan.wrong(wanted)
    if not sign and scan.take(r"x(?!\w)"):
        return "ratio", float(number)
    suffix = scan.take(r"[/\wµ]+")
    if suffix not in _SUFFIXES[unit]:
        raise scan.wrong(wanted, start)
    limit = float(sign + number) * _SUFFIXES[unit][suffix]
    return ("difference" if sign else "b"), limit


class _Scanner:
    """A text, read from left to right; blanks between words do not matter."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0
        self._skip()

    @property
    def ended(self) -> bool:
        return self.at == len(self._text)

    def peek(self, pattern: str) -> bool:
        return re.compile(pattern).match(self._text, self.at) is not None

    def take(self, pattern: str) -> str:
        """What matches here, or ""."""
        match = re.compile(pattern).match(self._text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        self._skip()
        return match[0]

    def wrong(self, wanted: str, at: int | None = None) -> ValueError:
        """What is wanted here, or there."""
        at = self.at if at is None else at
        seen = repr(self._text[at : at + 20]) if at < len(self._text) else "the end"
        return ValueError(f"column {at + 1}, at {seen}: {wanted}")

    def _skip(self) -> None:
        while self.at < len(self._text) and self._text[self.at].isspace():
            self.at += 1
