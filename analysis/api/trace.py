"""Traces as Python has them: a file, or one trace of a data set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from nvscope.analysis.api.selection import Selection
from nvscope.analysis.api.warned import lacks_of, warn
from nvscope.analysis.interop.errors import said_in_a_line
from nvscope.analysis.interop.files.layout import share_of, trace_folders
from nvscope.analysis.interop.files.stored import Share, Stored, stored
from nvscope.analysis.interop.pipes import is_pipe
from nvscope.analysis.interop.sources import open_source
from nvscope.analysis.interop.whole import Whole
from nvscope.probes.errors import InputError, shown
from nvscope.probes.traces.about import ABOUT_KEY, dumped
from nvscope.probes.traces.events import About
from nvscope.probes.traces.tracefile import TraceSource

if TYPE_CHECKING:
    from nvscope.analysis.api.validation import Validation


def open_trace(path: str | os.PathLike[str]) -> Trace:
    """Open one trace: a file of any format that `nvscope validate` takes, or a data set of one.

    Raises InputError, in one line: there is no such file, it is no trace, or the data set has
    several; also of a pipe, which can be read only once.

    >>> trace = open_trace("analysis/samples/revmap.arrows")
    >>> trace
    <Trace revmap.arrows: kernel 7.3.4-nvscope, reverse map maple>
    >>> trace.about.arch
    'aarch64'
    >>> open_trace("nowhere.arrows")
    Traceback (most recent call last):
    nvscope.probes.errors.InputError: nowhere.arrows: No such file or directory
    """
    found = open_traces(path)
    if len(found) != 1:
        raise InputError(f"{path}: it is a data set of {len(found)} traces; open_traces opens them")
    return found[0]


def open_traces(path: str | os.PathLike[str]) -> list[Trace]:
    """Open all traces of a data set, or a file's one. Raises InputError, as open_trace does.

    >>> [trace.path.name for trace in open_traces("analysis/samples/stock.arrows")]
    ['stock.arrows']
    """
    path = Path(path)
    if is_pipe(path):
        raise InputError(f"{path}: a pipe can be read only once: save what comes from it in a file")
    with said_in_a_line(), _named(path):
        if path.is_dir():
            return [Trace(folder, stored(folder)) for folder in trace_folders(path)]
        with open_source(path) as source:
            return [Trace(path, source)]


class Trace:
    """A recording. Each call reads it anew, so that one being recorded grows; nothing stays open.

    path: of the file, or of the trace's folder in a data set. about: what the recorder says of the
    host: kernel, arch, revmap, probes (probe point -> "mechanism symbol"), points, boot_id, clocks
    in ns, see events.About.

    What is missing of it is told by a TraceWarning once it is read: events that were lost, an end
    that is not there. `-W error` or warnings.simplefilter("error") makes that an exception.
    """

    def __init__(self, path: Path, found: TraceSource | Stored) -> None:
        self.path = path
        self.about: About = found.about
        self._stored = found if isinstance(found, Stored) else None

    def __repr__(self) -> str:
        kernel, revmap = self.about.kernel or "unknown", self.about.revmap
        return f"<Trace {shown(self.path.name)}: kernel {kernel}, reverse map {revmap}>"

    def table(
        self,
        columns: Iterable[str] | None = None,
        *,
        kinds: str | Iterable[str] | None = None,
        vm: str | int | None = None,
    ) -> pa.Table:
        """The events, one a row, in their order: (rows, columns).

        columns: names of columns, by default all of docs/traces.md; times are ns of the host's
        CLOCK_MONOTONIC, addresses and sizes bytes. kinds: only rows of these kinds. vm: only rows
        of the VM with this name, or with this `struct kvm *`, which also finds rows without a
        name; rows of `loss` stay, for they concern every VM. Words are dictionaries, which pandas
        has as categories.

        All of it is in memory: 90 bytes a row, if all columns are asked for. batches() needs not.
        Raises InputError where the trace is damaged, or has no such VM, column or kind.

        >>> trace = open_trace("analysis/samples/revmap.arrows")
        >>> trace.table().shape
        (363, 18)
        >>> trace.table(["time_ns", "size"], kinds="unmap_end").column_names
        ['time_ns', 'size']
        """
        wanted, lacks = Selection(columns, kinds, vm), list[str]()
        table = pa.Table.from_batches(self._read(wanted, vm, lacks), wanted.schema)
        warn(self.path, lacks)
        said = {ABOUT_KEY: dumped(self.about)}
        return table.unify_dictionaries().replace_schema_metadata(said)

    def batches(
        self,
        columns: Iterable[str] | None = None,
        *,
        kinds: str | Iterable[str] | None = None,
        vm: str | int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The same rows, some thousands at a time: for traces that are larger than the memory.

        Each batch has dictionaries of its own. Errors and warnings come while it is read.

        >>> trace = open_trace("analysis/samples/linux.arrows")
        >>> sum(batch.num_rows for batch in trace.batches(kinds="map"))
        545
        """
        return self._batches(Selection(columns, kinds, vm), vm)

    def unmaps(self) -> pa.Table:
        """Shadow unmaps within notifier unmaps, one a row: what each took, and what that cost.

        time_ns: when it began; kvm, pid, vm, mmu: whose; full: of all of the MMU, else of
        [nested_ipa, +size). canonical_ipa, canonical_size: of the notifier unmap. reason: of its
        fallback, "" without one. taken, taken_bytes: mappings that it took; needed_bytes: of those
        that led into the notifier's range; the ratio of both is what is over-unmapped.
        duration_ns: of the unmap. refaults, refault_ns: shadow faults that mapped some of it again,
        and their time; back_ns: when all of it was back.

        null is what is not known: back_ns if not all came back, the notifier's range (and what was
        needed) if its begin is not in the trace, duration_ns if the end is not.

        Memory has a bound, but for the unmaps themselves. Some things are followed up to a
        number only (VMs, MMUs, mappings), and a TraceWarning tells when that was reached.
        Raises InputError where the trace is damaged.

        >>> unmaps = open_trace("analysis/samples/stock.arrows").unmaps()
        >>> unmaps["full"].to_pylist(), unmaps["taken"].to_pylist()
        ([True, True], [17, 2])
        """
        from nvscope.analysis.api import unmaps  # imported here: a table needs no report

        with said_in_a_line(), self._opened() as source:
            table, lacks = unmaps.read(source)
        warn(self.path, lacks)
        return table

    def validate(
        self, require: str | None = None, *, variant: str | None = None, jobs: int = 1
    ) -> Validation:
        """Judge it, as `nvscope validate` does. Memory has a bound.

        require: what must be so, as --require has it. variant: what to judge the kernel as, by
        default what the trace says. jobs: processes, each with some of the VMs; a script needs
        `if __name__ == "__main__":` around it if there is more than one.

        Raises InputError where the trace is damaged, or require or variant make no sense;
        LackError if a process was killed.

        >>> trace = open_trace("analysis/samples/revmap.arrows")
        >>> trace.validate(require="safety, precision<=1.5").ok
        True
        """
        from nvscope.analysis.api.validation import validate  # imported here: a table needs none

        with said_in_a_line():
            return validate(self.path, require, variant, jobs)

    def _batches(self, wanted: Selection, vm: str | int | None) -> Iterator[pa.RecordBatch]:
        lacks: list[str] = []
        yield from self._read(wanted, vm, lacks)
        warn(self.path, lacks)

    def _read(
        self, wanted: Selection, vm: str | int | None, lacks: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """What is wanted; after the last, lacks has what is missing of the trace."""
        with said_in_a_line(), self._opened(vm) as source:
            for batch in source.batches():
                taken = wanted.taken(batch)
                if taken.num_rows:
                    yield taken
            lacks += lacks_of(source, wanted.losses)
        wanted.finish(self.path)

    @contextlib.contextmanager
    def _opened(self, vm: str | int | None = None) -> Iterator[TraceSource]:
        """Its rows; of a data set's trace only those of the VM if its address is known."""
        if self._stored is None:
            with open_source(self.path) as source:
                yield source
        elif isinstance(vm, int) and share_of(vm) in self._stored.shares:
            yield Share(self.path, share_of(vm))
        else:
            yield Whole(self._stored)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise InputError for OSError: of a name that is too long, or in a folder of others'."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
