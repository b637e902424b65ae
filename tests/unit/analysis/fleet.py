"""Traces of several VMs, with violations and losses in them; and in which ways they are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from hypothesis import strategies as st

from nvscope.analysis.interop.cli import convert
from nvscope.analysis.judging.findings import Result
from nvscope.analysis.judging.rows import Share
from nvscope.analysis.validate.jobs.local import Here
from nvscope.analysis.validate.jobs.parts import Part
from nvscope.analysis.validate.jobs.run import Outcome, Trace, judge_all, traces_of
from nvscope.probes.traces.events import DETAILS, KINDS, Event
from tests.unit.analysis.kernel import PAGE
from tests.unit.analysis.mutations import MUTATIONS, STORIES, variant
from tests.unit.analysis.traces import Events, written

_MODELLED = [story for story in STORIES if variant(story) == "maple-v2"]
_WRONG = [(story, change) for _, story, change, _ in MUTATIONS if variant(story) == "maple-v2"]
# What happens in a VM: as it should be, and otherwise.
LIVES: list[Events] = [story().events for story in _MODELLED]
LIVES += [change(story().events) for story, change in _WRONG]


def mixed(lives: Sequence[Events], order: Sequence[int], losses: dict[int, int]) -> Events:
    """Several VMs' lives as one trace. Nothing is shared: VMs, MMUs and tasks are each their own.

    order: whose row is next, as far as it goes. losses: where -> of how many rows the time is gone.
    """
    left = [[_of_vm(number, event) for event in life] for number, life in enumerate(lives)]
    rows: Events = []
    for number in [*order, *(n for n, life in enumerate(left) for _ in life)]:
        if left[number]:
            rows.append(replace(left[number].pop(0), time_ns=100 * len(rows) + 1000))
    for at, length in sorted(losses.items(), reverse=True):
        if at < len(rows):
            until = rows[min(at + length, len(rows) - 1)].time_ns
            rows.insert(at, Event("loss", detail="ring_full", count=1, time_ns=until))
    return rows


def _of_vm(number: int, event: Event) -> Event:
    mmu = event.mmu + number * 0x100000 if event.mmu else 0
    return replace(event, kvm=event.kvm + number * 0x100000, mmu=mmu, tid=event.tid + 1000 * number)


@st.composite
def fleets(draw: st.DrawFn) -> Events:
    """Traces of up to four VMs, most of which are wrong in one thing."""
    lives = draw(st.lists(st.sampled_from(LIVES), min_size=1, max_size=4))
    order = draw(st.lists(st.integers(0, len(lives) - 1), max_size=80))
    losses = draw(st.dictionaries(st.integers(0, 100), st.integers(0, 20), max_size=2))
    return mixed(lives, order, losses)


_FEW = st.sampled_from([0, 0x1000, 1 << 21, 1 << 30])
# Any rows at all; a task belongs to one VM.
NONSENSE = st.lists(
    st.sampled_from(sorted(KINDS)).flatmap(
        lambda kind: st.builds(
            lambda tid, **values: Event(kind, tid=4 * values["kvm"] + tid, **values),
            tid=st.integers(0, 3),
            time_ns=st.integers(0, 50),
            kvm=st.integers(0, 2),
            mmu=st.integers(0, 2),
            canonical_ipa=_FEW,
            nested_ipa=_FEW,
            size=st.sampled_from([PAGE, 1 << 21]),
            detail=st.sampled_from(DETAILS.get(kind, ("",))),
            full=st.booleans(),
            duration_ns=st.integers(0, 100),
        )
    ),
    max_size=40,
)


def in_batches(rows: Events, size: int = 7) -> bytes:
    """A trace of small batches."""
    return written(*(rows[start : start + size] for start in range(0, len(rows), size)))


def partition(trace: Path, data_set: Path) -> None:
    """`nvscope convert --partition`."""
    ran = CliRunner().invoke(convert, ["--partition", str(trace), str(data_set)])
    assert ran.exit_code == 0, ran.output


def in_shares(path: Path, of: int) -> Outcome:
    """A file judged in so many shares, one after the other."""
    parts = [Part(path, share=Share(n, of)) for n in range(of)]
    (outcome,) = judge_all([Trace("", parts)], Here())
    return outcome


def of_data_set(path: Path) -> Outcome:
    """That of its only trace."""
    (outcome,) = judge_all(traces_of(path), Here())
    return outcome


def told(outcome: Outcome) -> dict[str, Any]:
    """All that is said; an error as well."""
    if isinstance(outcome, Result):
        return asdict(outcome) | {"verdict": outcome.verdict}
    return {"error": str(outcome).rpartition(": ")[2]}
