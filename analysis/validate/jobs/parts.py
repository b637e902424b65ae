"""What one process is given to judge: some of the VMs of a trace. Here or on another machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nvscope.analysis.interop.files import stored
from nvscope.analysis.interop.files.stored import Numbered
from nvscope.analysis.interop.sources import notes_of, open_source
from nvscope.analysis.judging.findings import SUBJECTS, Finding, Result
from nvscope.analysis.judging.rows import ALL, Share
from nvscope.analysis.model.variants import OF_KERNEL, VARIANTS, Variant
from nvscope.analysis.validate.engine import Engine
from nvscope.analysis.validate.subtrace import Traced, sub_traces
from nvscope.probes.traces.events import About
from nvscope.probes.traces.tracefile import TraceError, TraceSource

CUT_SHORT = "the trace is not whole: {}"

# Told after each batch how many rows it had, and how many bytes of the file are read.
Progress = Callable[[int, int], None]


def silent(rows: int, read_bytes: int) -> None:
    """Progress that nobody wants to know of."""


@dataclass(frozen=True)
class Part:
    """path: a file, or a trace's folder in a data set, of which it is the share `stored`.

    variant: what to judge it as, "" for what it says. share: which VMs, and which part it is that
    tells what concerns all of them: n 0. rows: how many, as far as that is known.
    """

    path: Path
    variant: str = ""
    share: Share = ALL
    stored: str = ""
    rows: int = 0

    @contextlib.contextmanager
    def opened(self) -> Iterator[TraceSource]:
        """Its rows. Raises TraceError."""
        if self.stored:
            yield stored.Share(self.path, self.stored)
            return
        with open_source(self.path) as source:
            yield source


def judge_part(part: Part, progress: Progress = silent) -> Result | TraceError:
    """Run it through the model. What is wrong with a file is returned, for another process."""
    try:
        with part.opened() as source:
            return judge(source, variant_of(source.about, part.variant), part.share, progress)
    except TraceError as error:
        return error


def trace_part(part: Part, findings: Sequence[Finding]) -> list[Traced] | TraceError:
    """The sub-traces of findings that were made in it."""
    try:
        with part.opened() as source:
            variant = variant_of(source.about, part.variant)
            return sub_traces(findings, numbered(source), source.about, variant)
    except TraceError as error:
        return error


def judge(
    source: TraceSource, variant: Variant, share: Share = ALL, progress: Progress = silent
) -> Result:
    """Run a trace through the model once. Raises TraceError."""
    engine = Engine(source.about, variant, share)
    for numbers, batch in numbered(source):
        engine.feed(batch, numbers)
        progress(batch.num_rows, source.read_bytes)
    result = engine.finish()
    if share.n == 0:
        note_ending(result, source)
        result.notes += notes_of(source)
    return result


def note_ending(result: Result, source: TraceSource) -> None:
    """Take in what the end of the file says: once all batches are read."""
    if not source.complete:
        why = CUT_SHORT.format(source.ending)
        result.unjudged[why] = 1
        result.unknown.update((subject, why) for subject in SUBJECTS)


def numbered(source: TraceSource) -> Iterator[Numbered]:
    """A trace's batches, and where their rows are in it. Raises TraceError."""
    if isinstance(source, stored.Share):
        yield from source.numbered()
        return
    base = 0
    for batch in source.batches():
        yield np.arange(base, base + batch.num_rows), batch
        base += batch.num_rows


def variant_of(about: About, override: str | None) -> Variant:
    """The variant to judge by: of a kernel that is not known its behaviour alone."""
    return VARIANTS[override or OF_KERNEL.get(about.revmap, "behaviour")]
