"""What files can be, and what their names say of it."""

from __future__ import annotations

from pathlib import Path

# Ending of a file's name -> its format; what else there is, is a trace.
SOURCE_ENDINGS = {
    ".parquet": "parquet",
    ".ftrace": "ftrace",
    ".txt": "ftrace",
    ".perf": "perf",
}
TARGET_ENDINGS = {".parquet": "parquet", ".json": "perfetto", ".json.gz": "perfetto"}
SOURCES = ("trace", "parquet", "ftrace", "perf")
TARGETS = ("trace", "parquet", "perfetto")


def source_of(path: Path) -> str:
    """The format of a file to be read.

    >>> source_of(Path("a.parquet")), source_of(Path("a.perf")), source_of(Path("a"))
    ('parquet', 'perf', 'trace')
    """
    return _by_ending(path, SOURCE_ENDINGS)


def target_of(path: Path) -> str:
    """The format of a file to be written.

    >>> target_of(Path("a.json.gz")), target_of(Path("a.arrows"))
    ('perfetto', 'trace')
    """
    return _by_ending(path, TARGET_ENDINGS)


def _by_ending(path: Path, endings: dict[str, str]) -> str:
    name = path.name.lower()
    return next((what for ending, what in endings.items() if name.endswith(ending)), "trace")
