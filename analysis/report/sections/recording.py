"""What the trace is: where and how it was recorded, and what is in it."""

from __future__ import annotations

from datetime import UTC, datetime

from nvscope.analysis.report.measures.gather import Findings
from nvscope.analysis.report.sections.shapes import Table
from nvscope.analysis.units import duration, name, number
from nvscope.probes.traces.events import About


def about(found: Findings, path_name: str) -> list[tuple[str, str]]:
    """What the trace is."""
    said, tally = found.about, found.tally
    elapsed = max(0, tally.last_ns - tally.first_ns)
    rows = [
        ("File", name(path_name, 200)),
        ("Host", _host(said)),
        ("Kernel", " ".join(filter(None, (name(said.kernel), name(said.arch)))) or "not said"),
        ("Reverse map", name(said.revmap)),
        ("Began", _wall_clock(said.started_unix_ns)),
        ("Duration", f"{duration(elapsed)} from the first row to the last"),
        ("Rows", number(tally.rows)),
        ("Boot", name(said.boot_id) or "not said"),
        ("Recorded by", name(said.recorder) or "not said"),
        *([("Points file", name(said.points, 120))] if said.points else []),
        ("Ending", f"cut short: {name(found.ending, 200)}" if found.ending else "complete"),
    ]
    if tally.unknown_rows:
        rows.append(("Not understood", f"{number(tally.unknown_rows)} rows of unknown kinds"))
    return rows


def _host(said: About) -> str:
    if not said.host:
        return "not said"
    kind = "emulated: no performance figures" if said.machine == "emulated" else name(said.machine)
    return f"{name(said.host)} ({kind})" if kind else name(said.host)


def _wall_clock(unix_ns: int) -> str:
    if not unix_ns:
        return "not said"
    try:
        return datetime.fromtimestamp(unix_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError, TypeError):
        return "at a time that makes no sense"


def probes(found: Findings) -> Table:
    """What was attached where."""
    rows = [
        (name(point), name(hook) or "not attached")
        for point, hook in list((found.about.probes or {}).items())[:64]
    ]
    return Table(("Probe point", "Attached by"), rows, frozenset({0, 1}))


def rows_by_kind(found: Findings) -> Table:
    """How many rows there are of each kind."""
    return Table(
        ("Kind", "Rows"), [(kind, number(n)) for kind, n in found.tally.kinds.most_common()]
    )
