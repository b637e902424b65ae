"""Traces of a kernel that tracks mappings, altered as bugs in it could: each is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nvscope.analysis.judging.notifiers import MAYBE_GONE
from nvscope.probes.traces.events import Event
from tests.unit.analysis.kernel import BLOCK, HUGE, PAGE, TOP, Kernel
from tests.unit.analysis.traces import (
    M1,
    M2,
    VM,
    Events,
    booted,
    changed,
    found,
    inserted,
    judged,
    of_kind,
    without,
)

C, N = 4 * BLOCK, 9 * BLOCK  # where most is mapped to, and from
UNMAPS = of_kind("unmap_begin", "unmap_end", detail="notifier")
FULL = of_kind("unmap_begin", "unmap_end", full=True)
FALLS_BACK = of_kind("fallback")
END = of_kind("notifier_end")


def one_page() -> Kernel:
    kernel = booted("tracking")
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def mapped_twice() -> Kernel:
    """By a page and by a block."""
    kernel = booted("tracking")
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.fault(VM, M1, N + BLOCK, C, BLOCK)
    kernel.notifier(VM, C, PAGE)
    return kernel


def invalidated() -> Kernel:
    """L1 took the mapping away itself, and it is no longer tracked."""
    kernel = booted("tracking")
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.fault(VM, M1, N + PAGE, C + PAGE, PAGE)
    kernel.tlbi(VM, M1, N, PAGE)
    kernel.notifier(VM, C, 2 * PAGE)
    kernel.fault(VM, M1, N, C, PAGE)
    return kernel


def never_mapped() -> Kernel:
    """What was tracked first could then not be mapped."""
    kernel = booted("tracking")
    kernel.fault(VM, M1, N, C, PAGE, result=-12)
    kernel.fault(VM, M1, N, C, PAGE, result=-12)
    kernel.notifier(VM, C, PAGE)
    return kernel


def lost() -> Kernel:
    """A mapping could not be tracked; the next one is."""
    kernel = booted("tracking")
    kernel.fault(VM, M1, N, C, PAGE, fails=True)
    kernel.fault(VM, M1, N + PAGE, C + PAGE, PAGE)
    kernel.notifier(VM, C + HUGE, PAGE)
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def lost_page() -> Kernel:
    """The notifier takes just what could not be tracked."""
    kernel = booted("tracking")
    kernel.fault(VM, M1, N, C, PAGE, fails=True)
    kernel.notifier(VM, C, PAGE)
    return kernel


def lost_while_mended() -> Kernel:
    """One full unmap begins before the mapping was lost, and mends nothing; the next one does."""
    kernel = booted("tracking")
    kernel.recycle(VM, M1, lambda: kernel.fault(VM, M1, N, C, PAGE, fails=True), sweep=HUGE)
    kernel.notifier(VM, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def swept() -> Kernel:
    """A page is taken while the MMU is recycled: what is tracked goes when its mapping does."""
    kernel = booted("tracking")
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.recycle(VM, M1, gap=lambda: kernel.notifier(VM, C, PAGE), sweep=PAGE)
    return kernel


STORIES = (
    *(one_page, mapped_twice, invalidated, never_mapped),
    *(lost, lost_page, lost_while_mended, swept),
)


def ranged_unmap(nested: int, size: int, mmu: int = M1) -> tuple[Event, Event]:
    """In a notifier."""
    values = {"tid": 9, "kvm": VM, "mmu": mmu, "nested_ipa": nested, "size": size}
    return (
        Event("unmap_begin", detail="notifier", **values),  # type: ignore[arg-type]
        Event("unmap_end", detail="notifier", **values),  # type: ignore[arg-type]
    )


def full_unmap(mmu: int = M1) -> tuple[Event, Event]:
    values = {"tid": 9, "kvm": VM, "mmu": mmu, "size": TOP, "detail": "notifier", "full": True}
    return Event("unmap_begin", **values), Event("unmap_end", **values)  # type: ignore[arg-type]


def fallback() -> Event:
    return Event("fallback", tid=9, kvm=VM, mmu=M1, detail="broken")


def at(nested: int) -> Callable[[Event], bool]:
    """The notifier's unmap of what is mapped there."""
    return of_kind("unmap_begin", "unmap_end", detail="notifier", nested_ipa=nested)


Change = Callable[[Events], Events]
MUTATIONS: list[tuple[str, Callable[[], Kernel], Change, set[str]]] = [
    ("unmap missing", one_page, lambda e: without(e, UNMAPS), {"safety"}),
    ("unmap of one nested IPA missing", mapped_twice, lambda e: without(e, at(N)), {"safety"}),
    ("unmap of the block missing", mapped_twice, lambda e: without(e, at(N + BLOCK)), {"safety"}),
    ("unmap of part of the block", mapped_twice, lambda e: changed(
        e, at(N + BLOCK), size=PAGE), {"conformance"}),
    ("unmap too long", one_page, lambda e: changed(e, UNMAPS, size=BLOCK), {"precision"}),
    ("unmap twice", one_page, lambda e: inserted(e, END, *ranged_unmap(N, PAGE)), {"precision"}),
    ("unmap on another MMU as well", one_page,
     lambda e: inserted(e, END, *ranged_unmap(N, PAGE, M2)), {"precision"}),
    ("unmap of what a TLBI took", invalidated,
     lambda e: inserted(e, END, *ranged_unmap(N, PAGE)), {"precision"}),
    ("unmap of what is tracked and not mapped missing", never_mapped,
     lambda e: without(e, UNMAPS), {"conformance"}),
    ("untracked with its neighbour", invalidated,
     lambda e: without(e, at(N + PAGE)), {"safety"}),
    ("not untracked by a TLBI", invalidated, lambda e: [
        *e[:-3], *changed(e[-3:], of_kind("record"), detail="unchanged")], {"conformance"}),
    ("said to be there, and is not", one_page,
     lambda e: changed(e, of_kind("record"), detail="unchanged"), {"conformance"}),
    ("tracked twice", never_mapped,
     lambda e: changed(e, of_kind("record"), detail="stored"), {"conformance"}),
    ("an overlap", one_page,
     lambda e: changed(e, of_kind("record"), detail="overlapped"), {"conformance"}),
    ("not tracked after a loss", lost, lambda e: changed(
        e, of_kind("record", nested_ipa=N + PAGE), detail="skipped"), {"conformance"}),
    ("mapping not tracked", one_page, lambda e: without(e, of_kind("record")), {"conformance"}),
    ("tracked at another nested IPA", one_page,
     lambda e: changed(e, of_kind("record"), nested_ipa=N + PAGE), {"conformance"}),
    ("tracked for another MMU", one_page, lambda e: changed(e, of_kind("record"), mmu=M2),
     {"conformance"}),
    ("loss ignored", lost, lambda e: without(without(e, FALLS_BACK), FULL), {"fallback"}),
    ("loss ignored, mapping left", lost_page,
     lambda e: without(without(e, FALLS_BACK), FULL), {"safety"}),
    ("loss ignored, mapping perhaps left", lost_while_mended, lambda e: without(
        without(e, FALLS_BACK), of_kind("unmap_begin", "unmap_end", full=True, detail="notifier")),
     {"fallback"}),
    ("loss mended too early", lost_while_mended, lambda e: inserted(
        without(without(e, FALLS_BACK), UNMAPS), END, *ranged_unmap(N, PAGE)), {"fallback"}),
    ("loss never mended", lost_while_mended,
     lambda e: inserted(e, END, fallback(), *full_unmap()), {"fallback"}),
    ("fallback with no reason given", lost, lambda e: without(e, FALLS_BACK), {"fallback"}),
    ("fallback without its full unmap", lost, lambda e: without(e, FULL), {"fallback"}),
    ("fallback for another reason", lost,
     lambda e: changed(e, FALLS_BACK, detail="raced"), {"conformance"}),
    ("needless fallback", one_page, lambda e: inserted(
        without(e, UNMAPS), END, fallback(), *full_unmap()), {"fallback"}),
    ("needless full unmap", one_page, lambda e: inserted(e, END, *full_unmap(M2)), {"fallback"}),
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_what_a_correct_kernel_does_passes(story: Callable[[], Kernel]) -> None:
    result = judged(story().events, "tracking")
    assert not result.findings
    # While a full unmap is under way nobody can tell how far it has come.
    assert set(result.unjudged) <= ({MAYBE_GONE} if story is swept else set())
    assert result.judged["conformance"] > 0


@pytest.mark.parametrize(
    ("story", "change", "invariants"),
    [case[1:] for case in MUTATIONS],
    ids=[case[0] for case in MUTATIONS],
)
def test_what_a_wrong_kernel_does_is_found(
    story: Callable[[], Kernel], change: Change, invariants: set[str]
) -> None:
    assert found(change(story().events), "tracking") == invariants


def test_the_order_of_what_is_unmapped_is_free() -> None:
    events = mapped_twice().events
    other = inserted(without(events, at(N + BLOCK)), END, *ranged_unmap(N + BLOCK, BLOCK))
    nested = [[e.nested_ipa for e in each if e.kind == "unmap_begin"] for each in (events, other)]
    assert nested == [[N + BLOCK, N], [N, N + BLOCK]]
    assert judged(other, "tracking").verdict == "pass"


def test_calls_at_once_explain_each_other() -> None:
    """Two vCPUs map the same page: the row that says so first may be the other one's."""
    kernel = booted("tracking")
    kernel.faults_at_once(VM, M1, [(N, C, PAGE, False), (N, C, PAGE, False)])
    kernel.notifier(VM, C, PAGE)
    assert [e.detail for e in kernel.events if e.kind == "record"] == ["unchanged", "stored"]
    assert judged(kernel.events, "tracking").verdict == "pass"


def test_a_trace_without_records_is_judged_by_what_is_mapped() -> None:
    probes = {"shadow_map": "kprobe f", "notifier_unmap": "kprobe g", "shadow_unmap": "kprobe h"}
    events = without(mapped_twice().events, of_kind("record"))
    result = judged(events, "tracking", probes=probes)
    assert not result.findings
    assert result.judged["safety"] > 0
    wrong = judged(without(events, at(N)), "tracking", probes=probes)
    assert [finding.invariant for finding in wrong.findings] == ["safety"]
