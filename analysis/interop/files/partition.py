"""Writes a trace into a data set: see layout.py."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nvscope.analysis.interop.files.layout import (
    ALL,
    BOOT,
    NUMBER,
    NUMBERED,
    ROWS_KEY,
    share_folder,
    share_of,
    trace_folder,
)
from nvscope.analysis.interop.files.parquet import ENDING_KEY, said_of
from nvscope.probes.errors import InputError
from nvscope.probes.traces.events import About
from nvscope.probes.traces.tracefile import TraceError

# Rows that are sorted by VM at one time: some 40 MiB. A VM's rows of them are a row group.
GATHERED_ROWS = 1 << 19
# A process may have 1,024 files open (RLIMIT_NOFILE's usual soft limit).
MAX_OPEN = 512
MAX_VMS = 1 << 14  # no host has so many; each has a folder


class Sink:
    """Writes batches into a folder, which is there. Raises OSError, TraceError."""

    def __init__(self, folder: Path, about: About) -> None:
        self._files = _Files(folder, about)
        self._waiting: list[pa.RecordBatch] = []
        self._gathered = 0
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._waiting.append(batch)
        self._gathered += batch.num_rows
        if self._gathered >= GATHERED_ROWS:
            self._flush()

    def close(self, ending: str) -> None:
        """Finish the files. ending: as a Reader says it."""
        self._flush()
        self._files.close({ENDING_KEY: ending.encode(), ROWS_KEY: b"%d" % self._rows})

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting).unify_dictionaries().combine_chunks()
        numbers = np.arange(self._rows, self._rows + self._gathered)
        table = table.append_column(NUMBER, pa.array(numbers))
        self._rows += self._gathered
        self._waiting, self._gathered = [], 0
        of_all = pc.equal(table["kind"].cast(pa.string()), "loss")
        self._files.write(ALL, table.filter(of_all))
        table = table.filter(pc.invert(of_all))
        kvms = table["kvm"].to_numpy()
        table = table.take(np.argsort(kvms, kind="stable"))
        vms, counts = np.unique(kvms, return_counts=True)
        starts = np.cumsum(counts) - counts
        for kvm, start, count in zip(vms.tolist(), starts.tolist(), counts.tolist(), strict=True):
            self._files.write(share_of(kvm), table.slice(start, count))


class _Files:
    """The files of all shares. Those of the first MAX_OPEN stay open till the end."""

    def __init__(self, folder: Path, about: About) -> None:
        self._folder = folder
        self._schema = NUMBERED.with_metadata(said_of(about))
        self._open: dict[str, pq.ParquetWriter] = {}
        self._counts: dict[str, int] = {}
        self._open[ALL] = self._begun(ALL)

    def write(self, share: str, rows: pa.Table) -> None:
        writer = self._open.get(share) or self._begun(share)
        if rows.num_rows:
            writer.write_table(
                rows.replace_schema_metadata(self._schema.metadata), row_group_size=rows.num_rows
            )
        if len(self._open) < MAX_OPEN:
            self._open[share] = writer
        elif share not in self._open:
            writer.close()

    def close(self, said: dict[bytes, bytes]) -> None:
        self._open[ALL].add_key_value_metadata(
            {key.decode(): value.decode() for key, value in said.items()}
        )
        for writer in self._open.values():
            writer.close()

    def _begun(self, share: str) -> pq.ParquetWriter:
        number = self._counts.get(share, 0)
        self._counts[share] = number + 1
        if len(self._counts) > MAX_VMS:
            raise TraceError(f"it has rows of more than {MAX_VMS:,} VMs")
        folder = share_folder(self._folder, share)
        folder.mkdir(exist_ok=True)
        return pq.ParquetWriter(
            folder / f"{number}.parquet",
            self._schema,
            compression="zstd",
            use_dictionary=[name for name in NUMBERED.names if name != NUMBER],
            column_encoding={NUMBER: "DELTA_BINARY_PACKED"},
        )


@contextlib.contextmanager
def writing(data_set: Path, boot_id: str, name: str) -> Iterator[Path]:
    """A folder that becomes the trace's in the data set when the block ends well; else nothing

    changes. Raises InputError: also where such a trace is there, or something that is no data set.
    """
    target = trace_folder(data_set, boot_id, name)
    try:
        _refuse(data_set, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
        part.chmod(0o755)
        try:
            yield part
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            _remove_empty(target.parent)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from None


def _refuse(data_set: Path, target: Path) -> None:
    try:
        str(target).encode()
    except UnicodeEncodeError:  # Arrow's writer takes no such name
        raise InputError(f"cannot write {data_set}: its name is no UTF-8") from None
    if target.exists():
        raise InputError(f"{target} is there already: name another data set, or remove it")
    if data_set.exists() and not data_set.is_dir():
        raise InputError(f"cannot write {data_set}: it is no folder")
    inside = [child.name for child in data_set.iterdir()] if data_set.exists() else []
    if any(not name.startswith((BOOT, ".", "_")) for name in inside):
        raise InputError(f"cannot write {data_set}: there is something else in this folder")


def _remove_empty(folder: Path) -> None:
    for each in (folder, folder.parent):
        with contextlib.suppress(OSError):
            each.rmdir()
