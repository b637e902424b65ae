"""Honesty: with lost events, or mappings made before the trace began, the answer is "unknown"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate.engine import Engine
from nvscope.probes.traces.events import Event
from tests.unit.analysis.kernel import BLOCK, PAGE, Kernel
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, M2, VM, VM2, Events, booted, judged, of_kind, without

C, N = 4 * BLOCK, 9 * BLOCK
LOSS = Event("loss", detail="ring_full", count=5)


def busy(revmap: str = "maple-v2") -> Kernel:
    """All that there is, twice."""
    kernel = booted(revmap)
    for _ in range(2):
        kernel.fault(VM, M1, N, C, PAGE)
        kernel.fault(VM, M2, N, C, BLOCK)
        kernel.notifier(VM, C, PAGE)
        kernel.fault(VM, M1, N, C, PAGE)
        kernel.fault(VM, M1, N + PAGE, C, PAGE)
        kernel.tlbi(VM, M1, N, PAGE)
        kernel.notifier(VM, C, PAGE)
        kernel.fault(VM, M1, N, C, PAGE, fails=True)
        kernel.fault(VM, M2, N, C + PAGE, PAGE)
        kernel.recycle(VM, M2, gap=lambda: kernel.notifier(VM, C, BLOCK), sweep=PAGE)
        kernel.fault(VM, M2, N, C, PAGE)
        kernel.notifier(VM, C, PAGE, erase_fails=True)
        kernel.free(VM, M1)
    return kernel


EVENTS = tuple(busy().events)


@pytest.mark.parametrize("revmap", ["maple-v2", "maple-v3", "none"])
def test_a_trace_that_begins_later_is_unknown(revmap: str) -> None:
    events = busy(revmap).events
    assert judged(events, revmap).verdict == "pass"
    for start in range(1, len(events)):
        result = judged(events[start:], revmap)
        assert not result.findings
        assert result.verdict == "unknown"


@pytest.mark.parametrize("revmap", ["maple-v2", "maple-v3", "none"])
def test_after_losses_nothing_is_held_against_the_kernel_nor_passed(revmap: str) -> None:
    events = busy(revmap).events
    for at in range(len(events)):
        for lost in (0, 1, 2, 5, 11):
            result = judged([*events[:at], LOSS, *events[at + lost :]], revmap)
            assert not result.findings, (at, lost)
            assert result.verdict == "unknown"


@given(st.data())
@PROFILE
def test_what_was_lost_lies_somewhere_before_the_time_of_the_loss(data: st.DataObject) -> None:
    """The recorder says that something is missing of what follows, not where."""
    events = EVENTS
    at = data.draw(st.integers(0, len(events) - 1))
    end = data.draw(st.integers(at, len(events) - 1))
    lost = data.draw(st.sets(st.integers(at, end)))
    loss = Event("loss", detail="ring_full", time_ns=events[end].time_ns)
    kept = [e for index, e in enumerate(events) if index not in lost]
    result = judged([*kept[:at], loss, *kept[at:]])
    assert not result.findings
    assert result.verdict == "unknown"


@pytest.mark.parametrize("revmap", ["maple-v2", "none"])
def test_a_trace_that_stops_in_the_middle_has_no_findings(revmap: str) -> None:
    events = busy(revmap).events
    for end in range(len(events)):
        assert not judged(events[:end], revmap).findings


def test_a_lost_row_that_nobody_noticed_never_crashes() -> None:
    events = busy().events
    for at in range(len(events)):
        assert judged(events[:at] + events[at + 1 :]).verdict in ("pass", "violation", "unknown")


def test_a_bug_after_a_loss_is_not_judged_before_the_next_full_unmap() -> None:
    kernel = booted()
    kernel.events.append(LOSS)
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    hidden = without(kernel.events, of_kind("unmap_begin", "unmap_end"))
    assert judged(hidden).verdict == "unknown"
    assert judged(hidden).unjudged["events were lost"] > 0
    kernel.recycle(VM, M1)
    kernel.fault(VM, M1, N, C, PAGE)
    at = len(kernel.events)
    kernel.notifier(VM, C, PAGE)
    assert not judged(kernel.events).findings
    shown = kernel.events[:at] + without(kernel.events[at:], of_kind("unmap_begin", "unmap_end"))
    assert [f.invariant for f in judged(shown).findings] == ["safety"]


def test_mappings_are_known_only_from_the_end_of_a_full_unmap() -> None:
    """What was made before the trace may be there until then; entries are known from its begin."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    seen: list[dict[str, int]] = []

    def gap() -> None:
        kernel.fault(VM, M1, N + BLOCK, C + BLOCK, PAGE)
        seen.append(dict(judged(kernel.events[start:]).judged))

    start = len(kernel.events)
    kernel.recycle(VM, M1, gap=gap)
    assert seen == [{"conformance": 1}]
    engine = Engine(judged([]).about, VARIANTS["maple-v2"])
    engine.feed_events(dict(enumerate(kernel.events[start:])))
    shadow = next(iter(engine.vms())).mmus[M1].shadow
    assert not shadow.doubt
    assert [(m.nested, m.certain) for m in shadow.mappings] == [(N + BLOCK, False)]


def test_what_may_have_survived_a_full_unmap_is_no_violation() -> None:
    """It was made between begin and end: the unmap may have passed there already, or not."""
    kernel = booted("none")
    kernel.recycle(VM, M1, gap=lambda: kernel.fault(VM, M1, N, C, PAGE))
    kernel.notifier(VM, C, PAGE)
    result = judged(without(kernel.events, of_kind("unmap_begin", detail="notifier")), "none")
    assert "safety" not in {f.invariant for f in result.findings}


def test_a_pointer_is_used_again() -> None:
    """vm_exit: forget the VM, for a struct kvm is soon another VM's."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.end_vm(VM)
    kernel.start_vm(VM)
    kernel.add_mmu(VM, M1)
    kernel.notifier(VM, C, PAGE)
    assert judged(kernel.events).verdict == "pass"
    unseen = [e for e in kernel.events if e.kind not in ("mmu_free", "vm_exit")]
    assert judged(unseen).verdict == "pass", "the second VM's begin says it as well"


def test_mmus_of_a_vm_that_began_in_the_trace_are_known() -> None:
    """mmu_init of the canonical MMU: all of the VM's MMUs seen later begin empty."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    events = [e for e in kernel.events if e.kind != "mmu_init" or e.mmu == 0]
    assert judged(events).verdict == "pass"
    assert judged(events[1:]).verdict == "unknown"


def test_vms_do_not_concern_each_other() -> None:
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.start_vm(VM2)
    kernel.add_mmu(VM2, M1 + 0x10000)
    kernel.fault(VM2, M1 + 0x10000, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    assert judged(kernel.events).verdict == "pass"
    result = judged([e for e in kernel.events if e.kind != "mmu_init" or e.kvm != VM2])
    assert result.verdict == "unknown"
    assert result.judged["precision"] == 1


def test_nothing_to_judge_is_no_pass() -> None:
    assert judged([]).verdict == "unknown"
    assert judged(booted().events).verdict == "unknown"


@pytest.mark.parametrize("point", ["notifier_unmap", "shadow_unmap", "shadow_map"])
def test_a_recorder_that_did_not_see_all_proves_nothing(point: str) -> None:
    kernel = busy()
    result = judged(kernel.events, probes={point: ""})
    assert result.verdict == "unknown"
    assert not result.judged
    assert all(point in why for why in result.unjudged)


def test_without_the_reasons_of_fallbacks_the_model_has_to_have_one() -> None:
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.fault(VM, M1, N + PAGE, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    events = without(kernel.events, of_kind("fallback"))
    assert judged(events, probes={"revmap_fallback": ""}).verdict == "pass"
    assert judged(events).verdict == "violation"
    needless: Events = without(events, of_kind("record", "map", nested_ipa=N + PAGE))
    assert judged(needless, probes={"revmap_fallback": ""}).verdict == "violation"


def test_an_outcome_that_the_kernel_does_not_tell() -> None:
    kernel = busy()
    events = [
        Event(**{**{f: getattr(e, f) for f in e.__slots__}, "detail": "unknown"})
        if e.kind == "record"
        else e
        for e in kernel.events
    ]
    result = judged(events)
    assert not result.findings
    assert result.verdict == "unknown"


def test_a_fallback_for_a_race_with_what_the_trace_does_not_show() -> None:
    """A full unmap from before a loss may be under way: neither passed nor held against it."""
    kernel = booted()

    def race() -> None:
        kernel.events.append(LOSS)
        kernel.unmap_all(VM, M1, "recycling", 77)  # entries are known from here
        kernel.notifier(VM, C, PAGE)

    kernel.recycle(VM, M1, gap=race)
    result = judged(kernel.events)
    assert not result.findings
    assert any("under way" in why for why in result.unjudged)


def test_freeing_takes_its_time() -> None:
    """mmu_free says that it begins; a notifier may still come first, and is not judged."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    free = Event("mmu_free", kvm=VM, mmu=M1)
    at = next(i for i, e in enumerate(kernel.events) if e.kind == "notifier_begin")
    result = judged([*kernel.events[:at], free, *kernel.events[at:]])
    assert not result.findings
    assert result.verdict == "unknown"
