"""Validating whole traces: their parts are judged apart, anywhere, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from nvscope.analysis.interop.files.layout import trace_folders
from nvscope.analysis.interop.files.stored import stored
from nvscope.analysis.interop.sources import open_source
from nvscope.analysis.judging.findings import Finding, Result
from nvscope.analysis.judging.rows import Share
from nvscope.analysis.validate.jobs.local import running
from nvscope.analysis.validate.jobs.parts import Part, Progress, judge_part, silent, trace_part
from nvscope.analysis.validate.jobs.presumed import BEHAVIOUR, NOTE, has_unknown_revmap
from nvscope.analysis.validate.subtrace import to_be_traced
from nvscope.probes.traces.tracefile import TraceError

T = TypeVar("T")
Outcome = Result | TraceError


class Executor(Protocol):
    """Runs a function of the module parts for many arguments. is_here: in this very process."""

    is_here: bool

    def run(
        self, function: Callable[..., T], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, T]]:
        """What came out, as it comes: the task's number, and its result."""
        ...


@dataclass
class Trace:
    """One trace, whole. error: why it cannot be judged at all; then there are no parts."""

    name: str
    parts: list[Part] = field(default_factory=list)
    error: TraceError | None = None

    @property
    def rows(self) -> int:
        """0 if that is not known."""
        return sum(part.rows for part in self.parts)


def traces_of(path: Path, variant: str | None = None, jobs: int = 1) -> list[Trace]:
    """The traces of a file, in so many parts, or of a data set. Raises TraceError."""
    if path.is_dir():
        return [_stored_trace(folder, variant or "") for folder in trace_folders(path)]
    shares = [Share(n, jobs) for n in range(jobs)]
    return [Trace(str(path), [Part(path, variant or "", share) for share in shares])]


def validate(
    path: Path, *, variant: str | None = None, jobs: int = 1, progress: Progress = silent
) -> Result:
    """Judge a file. jobs: processes, each with a share of its VMs. Raises TraceError."""
    with running(jobs) as executor:
        (outcome,) = judge_all(traces_of(path, variant, jobs), executor, progress)
    if isinstance(outcome, TraceError):
        raise outcome
    return outcome


def judge_all(
    traces: Sequence[Trace], executor: Executor, progress: Progress = silent
) -> list[Outcome]:
    """Judge traces. progress: told of rows, as they are judged or a part at a time."""
    judged = _judge(traces, executor, progress)
    again = [at for at, whole in enumerate(judged) if _has_unknown_revmap(whole)]
    by_behaviour = [_by_behaviour(traces[at]) for at in again]
    for at, whole in zip(again, _judge(by_behaviour, executor, silent), strict=True):
        judged[at] = whole
        if isinstance(whole.outcome, Result):
            whole.outcome.notes.append(NOTE)
    wanted = [want for at, whole in enumerate(judged) for want in _to_be_traced(at, whole)]
    wholes = [whole.outcome for whole in judged]
    _trace(wanted, executor, wholes)
    return wholes


def batches_of(path: Path) -> Iterator[pa.RecordBatch]:
    """A file's batches. Raises TraceError."""
    with open_source(path) as source:
        yield from source.batches()


@dataclass
class _Judged:
    """A trace's outcome, and those of its parts, which it was put together from."""

    outcome: Outcome
    of_parts: Sequence[tuple[Part, Outcome]]


def _judge(traces: Sequence[Trace], executor: Executor, progress: Progress) -> list[_Judged]:
    places = [(at, part) for at, trace in enumerate(traces) for part in trace.parts]
    said: list[dict[int, Outcome]] = [{} for _ in traces]
    judge = partial(judge_part, progress=progress) if executor.is_here else judge_part
    for number, outcome in executor.run(judge, [(part,) for _, part in places]):
        at, part = places[number]
        said[at][number] = outcome
        if not executor.is_here:
            progress(part.rows, 0)
    judged = []
    for at, trace in enumerate(traces):
        of_parts = [(places[number][1], outcome) for number, outcome in sorted(said[at].items())]
        whole = trace.error or _merged([outcome for _, outcome in of_parts])
        judged.append(_Judged(whole, of_parts))
    return judged


def _has_unknown_revmap(judged: _Judged) -> bool:
    return isinstance(judged.outcome, Result) and has_unknown_revmap(
        judged.outcome, judged.of_parts[0][0].variant
    )


def _by_behaviour(trace: Trace) -> Trace:
    return replace(trace, parts=[replace(part, variant=BEHAVIOUR) for part in trace.parts])


def _stored_trace(folder: Path, variant: str) -> Trace:
    try:
        found = stored(folder)
    except TraceError as error:
        return Trace(str(folder), error=error)
    # All rows of a share are its own; the first, that of all VMs, tells what concerns them.
    parts = [
        Part(folder, variant, Share(n, 1), name, rows)
        for n, (name, rows) in enumerate(found.shares.items())
    ]
    return Trace(str(folder), parts)


def _merged(outcomes: Sequence[Outcome]) -> Outcome:
    whole: Result | None = None
    for outcome in outcomes:
        if isinstance(outcome, TraceError):
            return outcome
        if whole is None:
            whole = Result(outcome.about, outcome.variant)
        whole.add(outcome)
    assert whole is not None
    return whole


# Sub-traces, of those findings alone that are among the first of the whole trace.


@dataclass
class _Wanted:
    """Findings of a part of trace number `at`."""

    at: int
    part: Part
    findings: list[Finding]


def _to_be_traced(at: int, judged: _Judged) -> Iterator[_Wanted]:
    if not isinstance(judged.outcome, Result):
        return
    first = {id(finding) for finding in to_be_traced(judged.outcome.findings)}
    for part, result in judged.of_parts:
        assert isinstance(result, Result)
        ours = [finding for finding in result.findings if id(finding) in first]
        if ours:
            yield _Wanted(at, part, ours)


def _trace(wanted: Sequence[_Wanted], executor: Executor, wholes: list[Outcome]) -> None:
    tasks = [(want.part, want.findings) for want in wanted]
    for number, traced in executor.run(trace_part, tasks):
        want = wanted[number]
        if isinstance(traced, TraceError):
            wholes[want.at] = traced
            continue
        for finding, (rows, note) in zip(want.findings, traced, strict=True):
            finding.trace, finding.note = rows, note
