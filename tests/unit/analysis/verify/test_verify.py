"""Page tables against a trace: what is equal, what differs, and what cannot be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.interop.sources import batched
from nvscope.analysis.judging.vm_state import AFTER_LOSS, OTHER_MMUS
from nvscope.analysis.verify import compared as words
from nvscope.analysis.verify.compared import CHANGING, DIFFERS, EQUAL, UNKNOWN, VmResult, compared
from nvscope.analysis.verify.debugfs import NO_PTDUMP, Shown
from nvscope.analysis.verify.ptdump import parsed
from nvscope.analysis.verify.traced import NOT_MADE, TracedVm, Tracing
from nvscope.probes.traces.events import About, Event
from tests.unit.analysis.kernel import BLOCK, PAGE, Kernel
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, M2, VM, Events, booted, of_kind, without
from tests.unit.analysis.verify.debugfs import tables
from tests.unit.analysis.verify.lived import C, N, lived


def traced(events: Events, **about: Any) -> list[TracedVm]:
    tracing = Tracing(About(**about))
    tracing.feed(batched(events))
    return tracing.vms()


def shown(kernel: Kernel, kvm: int = VM) -> Shown:
    """What a simulated kernel's page tables hold, through the text."""
    return Shown(Path("4711-9"), tuple(parsed(tables(mmu)) for mmu in kernel.vms[kvm].values()))


def verdict(events: Events, kernel: Kernel) -> VmResult:
    (vm,) = traced(events)
    return compared(vm, shown(kernel))


def test_equal() -> None:
    kernel = lived()
    result = verdict(kernel.events, kernel)
    assert result.verdict == EQUAL
    assert [mmu.both for mmu in result.mmus] == [((PAGE, 3 * PAGE),), ((0, BLOCK),)]
    assert [(mmu.address, mmu.table) for mmu in result.mmus] == [
        (M1, "nested_mmu0"),
        (M2, "nested_mmu1"),
    ]


def test_a_map_that_no_event_tells_of() -> None:
    kernel = lived()
    result = verdict(without(kernel.events, of_kind("map", mmu=M1, nested_ipa=PAGE)), kernel)
    assert result.verdict == DIFFERS
    assert [(mmu.unsaid, mmu.missing) for mmu in result.mmus] == [
        (((PAGE, 2 * PAGE),), ()),
        ((), ()),
    ]


def test_an_unmap_that_no_event_tells_of() -> None:
    kernel = lived()
    result = verdict(without(kernel.events, of_kind("unmap_begin", "unmap_end")), kernel)
    assert result.verdict == DIFFERS
    assert [(mmu.unsaid, mmu.missing) for mmu in result.mmus] == [((), ((0, PAGE),)), ((), ())]


def test_what_a_violation_leaves_is_followed_on() -> None:
    """The kernel forgets to unmap: both say that the mapping is there."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.vms[VM][M1].revmap.clear()
    kernel.notifier(VM, C, PAGE)
    kernel.fault(VM, M1, PAGE, C + PAGE, PAGE)
    result = verdict(kernel.events, kernel)
    assert (result.verdict, result.mmus[0].both) == (EQUAL, ((0, 2 * PAGE),))


@pytest.mark.parametrize("sweep", [PAGE, 4 * BLOCK])
def test_what_an_unmap_may_have_taken_is_held_against_neither(sweep: int) -> None:
    """It is mapped while a full unmap is under way: that has come past there already, or not."""
    kernel = booted()
    kernel.recycle(VM, M1, gap=lambda: kernel.fault(VM, M1, 2 * PAGE, C, PAGE), sweep=sweep)
    assert verdict(kernel.events, kernel).verdict == EQUAL


def test_an_unmap_under_way() -> None:
    kernel = lived()
    (at,) = [i for i, e in enumerate(kernel.events) if e.kind == "unmap_end"]
    result = verdict(kernel.events[:at], kernel)
    assert (result.verdict, result.mmus[0].why) == (CHANGING, words.UNDER_WAY)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fault", "fault", "fault", "tlbi", "notifier", "recycle"]),
        st.sampled_from([M1, M2]),
        st.sampled_from([0, PAGE, 2 * PAGE, BLOCK, BLOCK + PAGE]),
        st.sampled_from([C, C + PAGE, C + BLOCK]),
        st.booleans(),
    ),
    max_size=25,
)


@given(STEPS, st.sampled_from(["maple-v2", "maple-v3", "none"]))
@PROFILE
def test_a_kernels_own_account_is_equal(steps: list[Any], revmap: str) -> None:
    """Whatever it does, with pages and blocks that replace each other."""
    kernel = booted(revmap)
    for step in steps:
        play(kernel, *step)
    assert verdict(kernel.events, kernel).verdict == EQUAL


def play(kernel: Kernel, what: str, mmu: int, nested: int, canonical: int, large: bool) -> None:
    size = BLOCK if large else PAGE
    if what == "fault":
        nested, canonical = nested & -size, canonical & -size
        kernel.fault(VM, mmu, nested, canonical, size)
    elif what == "tlbi":
        kernel.tlbi(VM, mmu, nested & -size, size)
    elif what == "notifier":
        kernel.notifier(VM, canonical & -size, size)
    else:
        kernel.recycle(VM, mmu)


def reason(events: Events, of: Shown, **about: Any) -> str:
    (vm,) = traced(events, **about)
    result = compared(vm, of)
    assert (result.verdict, result.mmus) == (UNKNOWN, ())
    return result.why


def test_what_cannot_be_told_by_the_trace() -> None:
    kernel = lived()
    events, now = kernel.events, shown(kernel)
    assert reason(events[1:], now) == OTHER_MMUS
    loss = Event("loss", time_ns=events[4].time_ns, detail="ring_full", count=1)
    assert reason([*events[:4], loss, *events[4:]], now) == AFTER_LOSS
    assert "mmu_init" in reason(events, now, probes={"mmu_init": ""})
    assert reason(without(events, of_kind("mmu_init", mmu=M2)), now) == NOT_MADE


def test_what_cannot_be_told_by_the_page_tables() -> None:
    kernel = lived()
    one, other = shown(kernel).tables
    folder = Path("4711-9")
    assert reason(kernel.events, Shown(folder, (one,))) == (
        "debugfs shows 1 shadow MMUs, and the trace has 2"
    )
    assert reason(kernel.events, Shown(folder, (other, one))) == words.EXCHANGED
    assert reason(kernel.events, Shown(folder, why=NO_PTDUMP)) == NO_PTDUMP


def test_an_mmu_that_is_freed_half_way_is_not_counted() -> None:
    """kvm_vcpu_init_nested() had no memory for the second: later ones may have its address."""
    kernel = Kernel()
    kernel.start_vm(VM)
    kernel.add_mmu(VM, M1)
    kernel.free(VM, M1)
    kernel.vms[VM].clear()
    for mmu in (M2, M1):
        kernel.add_mmu(VM, mmu)
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.fault(VM, M2, PAGE, C, PAGE)
    result = verdict(kernel.events, kernel)
    assert result.verdict == EQUAL
    assert [mmu.address for mmu in result.mmus] == [M2, M1]
