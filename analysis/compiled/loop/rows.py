"""Rows as the loop takes them: in columns of numbers."""

from __future__ import annotations

from typing import NamedTuple

from nvscope.analysis.compiled.loop.state import Array

# What a row is; OTHER is never regular, and NOTHING of no concern.
NOTHING, RECORD, MAP, NOTIFIER_BEGIN, NOTIFIER_END, UNMAP_BEGIN, UNMAP_END, OTHER = range(8)
# Its detail.
STORED, UNCHANGED, NOTIFIER, ANOTHER = range(4)


class Rows(NamedTuple):
    """Columns of rows, each (rows,) of int64; as in rows.Row. kind, detail: as above."""

    at: Array
    kind: Array
    time_ns: Array
    tid: Array
    kvm: Array
    mmu: Array
    canonical: Array
    nested: Array
    size: Array
    detail: Array
    full: Array
    duration_ns: Array
