"""The fuzz target of traces that lie can fail (tests/unit/project/test_fuzz.py runs it)."""

from __future__ import annotations

import pytest

from tests.fuzz import arrow_metadata
from tests.fuzz.arrow_metadata import Example


def test_it_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours, of which there is none at hand."""

    def parsed(_: bytes) -> None:
        raise KeyError("x")

    monkeypatch.setattr("nvscope.probes.traces.tracefile.parsed", parsed)
    whole = arrow_metadata._trace(0)
    with pytest.raises(AssertionError, match="this is a fault of nvscope"):
        arrow_metadata.attempt(Example(".arrows", whole))
