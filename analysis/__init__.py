"""Traces, offline: the reference model of the reverse map, validation, reports.

For notebooks and scripts, `from nvscope.analysis import open_trace`; see api/ and docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvscope.analysis.api import Trace as Trace
    from nvscope.analysis.api import TraceWarning as TraceWarning
    from nvscope.analysis.api import Validation as Validation
    from nvscope.analysis.api import histogram as histogram
    from nvscope.analysis.api import open_trace as open_trace
    from nvscope.analysis.api import open_traces as open_traces

_OFFERED = ("Trace", "TraceWarning", "Validation", "histogram", "open_trace", "open_traces")


def __getattr__(name: str) -> Any:
    """What api/ offers, imported on use: commands need not load pyarrow. Raises LackError."""
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from nvscope.analysis import api
    except ModuleNotFoundError as error:
        from nvscope.probes.errors import LackError

        raise LackError(f"{error.name} is not installed: install nvscope[trace]") from None
    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED})
