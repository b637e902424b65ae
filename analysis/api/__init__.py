"""The Python interface, for notebooks and scripts: traces as Arrow tables, and their verdicts.

A thin layer on interop/, validate/ and report/: what a command says and what this returns are the
same. Wrong input raises InputError, what is missing on the machine LackError, each with one line.
"""

from nvscope.analysis.api.picture import Picture, histogram
from nvscope.analysis.api.trace import Trace, open_trace, open_traces
from nvscope.analysis.api.validation import Validation
from nvscope.analysis.api.warned import TraceWarning

__all__ = (
    "Picture",
    "Trace",
    "TraceWarning",
    "Validation",
    "histogram",
    "open_trace",
    "open_traces",
)
