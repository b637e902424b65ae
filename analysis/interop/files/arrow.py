"""Traces in their own format, written batch by batch."""

from __future__ import annotations

from typing import IO

import pyarrow as pa

from nvscope.probes.traces.events import COLUMNS, About
from nvscope.probes.traces.tracefile import Writer


class Sink:
    """Writes batches to a stream, as a trace. Raises OSError."""

    def __init__(self, stream: IO[bytes], about: About) -> None:
        self._writer = Writer(stream, about)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._writer.write({name: batch[name] for name in COLUMNS})

    def close(self, ending: str) -> None:
        """Finish the file; one that was cut short stays so."""
        if not ending:
            self._writer.close()
