"""What a trace lacks is said as a warning: tables and figures do not show it by themselves."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from nvscope.analysis.interop.sources import notes_of
from nvscope.analysis.validate.verdicts import told
from nvscope.probes.errors import shown
from nvscope.probes.traces.tracefile import TraceSource


class TraceWarning(UserWarning):
    """Something is missing: events were lost, the end is, or not all could be followed."""


def warn(path: Path, lacks: Iterable[str]) -> None:
    """A TraceWarning for each. To be called by a function that users call: it is named."""
    for lack in lacks:
        warnings.warn(shown(f"{path}: {lack}"), TraceWarning, stacklevel=3)


def lacks_of(source: TraceSource, losses: Counter[str]) -> list[str]:
    """What is missing of a source that was read to its end. losses: why -> events."""
    said = []
    if losses:
        lost = losses.total()
        missing = "1 event is missing" if lost == 1 else f"{lost:,} events are missing"
        said.append(f"{missing}: {told(losses)}")
    if not source.complete:
        said.append(f"the trace is not whole: {source.ending}")
    return said + notes_of(source)
