"""What a probe measured, for programs: one JSON object, or a row of CSV for each interval.

Columns of CSV: `unix_seconds`, when the interval ended; `seconds`, its length; a column for each
axis asked for; `count` and `sum_ns`, of the calls that ended in it; `p50_low_ns` and `p50_high_ns`,
bounds of the percentile (low <= percentile < high), likewise p90, p99, p99.9; `lost`, events lost
in the interval, by all causes, of all groups. An interval without calls has no row.

Spreadsheets take a text for a formula that begins with = + - @, also after blanks: whoever names a
VM would have it run. Such a text gets an apostrophe before it ('=1+1), which they do not show.
"""

from __future__ import annotations

import csv
import json
import time
import unicodedata
from collections.abc import Sequence
from typing import IO, Any

import nvscope
from nvscope.probes.commands.probe.meter import Asked, Interval
from nvscope.probes.commands.probe.slow import Slow
from nvscope.probes.counts.durations import PERCENTILES, percentile
from nvscope.probes.counts.snapshot import Attachment, Durations
from nvscope.probes.errors import shown
from nvscope.probes.kernel.features import Host


def as_dict(
    asked: Asked,
    host: Host,
    started_unix_ns: int,
    total: Interval,
    slow: Sequence[Slow] = (),
    slow_dropped: int = 0,
    attached: Attachment | None = None,
) -> dict[str, Any]:
    """The result of a probe. slow_dropped: slow calls beyond those in `slow`; attached: where its
    point is, which says what durations include.
    """
    return {
        "nvscope": nvscope.__version__,
        "kind": "probe",
        "probe": asked.kind.name,
        "hook": attached.hook if attached else "",
        "mechanism": attached.mechanism if attached else "",
        "includes": attached.includes if attached else "",
        "started_unix_ns": started_unix_ns,
        "seconds": round(total.seconds, 6),
        "host": {"kernel": host.kernel, "arch": host.arch, "revmap": host.revmap},
        "by": list(asked.by),
        "lost": total.lost,
        "groups": [
            {"labels": dict(zip(asked.by, labels, strict=True)), **_group(durations)}
            for labels, durations in sorted(total.groups.items())
        ],
        "slow": [each.as_dict() for each in slow],
        "slow_dropped": slow_dropped,
    }


def write_json(stream: IO[str], result: dict[str, Any]) -> None:
    """One line."""
    stream.write(json.dumps(result) + "\n")
    stream.flush()


class Rows:
    """Writes CSV, from the header on; see the module for its columns."""

    def __init__(self, stream: IO[str], by: Sequence[str]) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")
        bounds = [f"p{name}_{edge}_ns" for name in PERCENTILES for edge in ("low", "high")]
        self._write(["unix_seconds", "seconds", *by, "count", "sum_ns", *bounds, "lost"])

    def add(self, interval: Interval) -> None:
        """The groups of an interval that has just ended."""
        now, lost = f"{time.time():.3f}", sum(interval.lost.values())
        for labels, durations in sorted(interval.groups.items()):
            bounds = [edge for each in _percentiles(durations).values() for edge in each]
            texts = map(plain_text, labels)
            head = [now, f"{interval.seconds:.6f}", *texts, durations.count, durations.sum_ns]
            self._write([*head, *bounds, lost])

    def _write(self, row: Sequence[object]) -> None:
        self._writer.writerow(row)
        self._stream.flush()


def plain_text(text: str) -> str:
    """What a spreadsheet takes for a text, too.

    Fullwidth forms are as good as the others to some (OWASP, "CSV Injection").

    >>> plain_text("db"), plain_text("=1+1"), plain_text("\\uff1d1"), plain_text(" -x")
    ('db', "'=1+1", "'\uff1d1", "' -x")
    """
    text = shown(text)  # no tab and no end of a line is left
    begun = unicodedata.normalize("NFKC", text).lstrip()
    return f"'{text}" if begun.startswith(("=", "+", "-", "@")) else text


def _group(durations: Durations) -> dict[str, Any]:
    return {
        "count": durations.count,
        "sum_ns": durations.sum_ns,
        "slots": list(durations.slots),
        "percentiles_ns": _percentiles(durations),
    }


def _percentiles(durations: Durations) -> dict[str, list[int]]:
    return {name: list(percentile(durations, n)) for name, n in PERCENTILES.items()}
