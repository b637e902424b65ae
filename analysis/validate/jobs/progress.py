"""How far a validation is, on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nvscope.analysis.validate.jobs import parts
from nvscope.analysis.validate.jobs.run import Executor, Trace
from nvscope.probes.errors import shown

# Of what it takes a while to say anything: a second or so.
_LARGE_BYTES, _LARGE_ROWS = 1 << 22, 1 << 18


@contextlib.contextmanager
def showing(path: Path, traces: Sequence[Trace], executor: Executor) -> Iterator[parts.Progress]:
    """A bar for what takes long. How many rows a data set has is known; of a file, its bytes."""
    console = Console(stderr=True)
    rows = sum(trace.rows for trace in traces)
    size = path.stat().st_size if path.is_file() and executor.is_here else 0
    if not console.is_terminal or (rows < _LARGE_ROWS and size < _LARGE_BYTES):
        yield parts.silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        name = escape(shown(path.name))
        task, seen = bar.add_task(name, total=rows or size), 0

        def show(more: int, read_bytes: int) -> None:
            nonlocal seen
            seen += more
            done = seen if rows else read_bytes
            bar.update(task, completed=done, description=f"{name}: {seen:,} rows")

        yield show
