"""Validating whole traces: the passes over the file, and the shares of several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa

from nvscope.analysis.model.variants import OF_KERNEL, VARIANTS, Variant
from nvscope.analysis.validate.engine import Engine
from nvscope.analysis.validate.findings import Result
from nvscope.analysis.validate.rows import ALL, Share
from nvscope.analysis.validate.subtrace import add_traces
from nvscope.probes.events import About
from nvscope.probes.tracefile import Source, TraceError, open_trace

CUT_SHORT = "the trace is not whole: {}"

# Told after each batch how many rows it had; BytesProgress also, how much of the file is read.
Progress = Callable[[int], None]
BytesProgress = Callable[[int, int], None]


def variant_of(about: About, override: str | None) -> Variant:
    """The variant to judge by. Raises TraceError where the model has none for the kernel."""
    name = override or OF_KERNEL.get(about.revmap, "")
    if name not in VARIANTS:
        raise TraceError(
            f"its kernel has a reverse map of the kind {about.revmap!r:.40}, which the model does"
            " not know; --variant chooses one that it does"
        )
    return VARIANTS[name]


def validate(
    path: Path,
    *,
    variant: str | None = None,
    jobs: int = 1,
    progress: BytesProgress = lambda rows, read: None,
) -> Result:
    """Judge a file. jobs: processes, each with a share of its VMs. Raises TraceError."""
    with open_trace(path) as reader:
        about, chosen = reader.about, variant_of(reader.about, variant)
        if jobs == 1:
            result = judge(reader, chosen, ALL, lambda rows: progress(rows, reader.read_bytes))
    if jobs > 1:
        result = _judge_shared(path, about, chosen, jobs)
    add_traces(result.findings, lambda: batches_of(path), about, chosen)
    return result


def judge(source: Source, variant: Variant, share: Share, progress: Progress) -> Result:
    """Run a trace through the model once. Raises TraceError."""
    engine = Engine(source.about, variant, share)
    for batch in source.batches():
        engine.feed(batch)
        progress(batch.num_rows)
    result = engine.finish()
    if share.n == 0:
        note_ending(result, source)
    return result


def note_ending(result: Result, source: Source) -> None:
    """Take in what the end of the file says: once all batches are read."""
    if not source.complete:
        result.unjudged[CUT_SHORT.format(source.ending)] = 1


def batches_of(path: Path) -> Iterator[pa.RecordBatch]:
    """A file's batches. Raises TraceError."""
    with open_trace(path) as reader:
        yield from reader.batches()


def _judge_shared(path: Path, about: About, variant: Variant, jobs: int) -> Result:
    shares = [Share(n, jobs) for n in range(jobs)]
    whole = Result(about, variant.name)
    # Not forked: pyarrow has threads, which do not survive that.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for result in pool.map(_judge_share, [path] * jobs, [variant.name] * jobs, shares):
            whole.add(result)
    return whole


def _judge_share(path: Path, variant: str, share: Share) -> Result:
    with open_trace(path) as reader:
        return judge(reader, VARIANTS[variant], share, lambda rows: None)
