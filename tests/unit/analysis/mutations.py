"""Stories of a correct kernel, and the same altered as a wrong one would: what that breaks."""

from __future__ import annotations

from collections.abc import Callable

from nvscope.probes.traces.events import Event
from tests.unit.analysis.kernel import BLOCK, HUGE, PAGE, TOP, Kernel
from tests.unit.analysis.traces import (
    M1,
    M2,
    VM,
    Events,
    booted,
    changed,
    inserted,
    of_kind,
    without,
)

C, N = 4 * BLOCK, 9 * BLOCK  # where most is mapped to, and from
UNMAPS = of_kind("unmap_begin", "unmap_end", detail="notifier")
FALLS_BACK = of_kind("fallback")


def one_page() -> Kernel:
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def one_block() -> Kernel:
    kernel = booted()
    kernel.fault(VM, M1, N, C, BLOCK)
    kernel.notifier(VM, C, PAGE)
    return kernel


def two_pages() -> Kernel:
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.fault(VM, M1, N + BLOCK, C + PAGE, PAGE)
    kernel.notifier(VM, C, 2 * PAGE)
    return kernel


def stale() -> Kernel:
    """L1 took the mapping away itself; the entry stays."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.tlbi(VM, M1, N, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def mapped_twice() -> Kernel:
    """The same page at two nested IPAs: an entry of UNKNOWN_IPA."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.fault(VM, M1, N + PAGE, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def mapped_twice_stale() -> Kernel:
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.fault(VM, M1, N + PAGE, C, PAGE)
    kernel.tlbi(VM, M1, N, 2 * PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def broken() -> Kernel:
    """A record failed; the notifier takes another page."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE, fails=True)
    kernel.notifier(VM, C + HUGE, PAGE)
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def raced() -> Kernel:
    """A page is taken while the MMU is recycled: the entries are gone, the mapping is not."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.recycle(VM, M1, gap=lambda: kernel.notifier(VM, C, PAGE), sweep=PAGE)
    return kernel


def no_revmap() -> Kernel:
    kernel = booted("none")
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def no_revmap_stale() -> Kernel:
    kernel = booted("none")
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.tlbi(VM, M1, N, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


STORIES = (
    *(one_page, one_block, two_pages, stale, mapped_twice, mapped_twice_stale),
    *(broken, raced, no_revmap, no_revmap_stale),
)


def full_unmap(mmu: int = M1, tid: int = 9) -> tuple[Event, Event]:
    """In a notifier."""
    values = {"tid": tid, "kvm": VM, "mmu": mmu, "size": TOP, "detail": "notifier", "full": True}
    return Event("unmap_begin", **values), Event("unmap_end", **values)  # type: ignore[arg-type]


def ranged_unmap(nested: int, size: int, mmu: int = M1) -> tuple[Event, Event]:
    values = {"tid": 9, "kvm": VM, "mmu": mmu, "nested_ipa": nested, "size": size}
    return (
        Event("unmap_begin", detail="notifier", **values),  # type: ignore[arg-type]
        Event("unmap_end", detail="notifier", **values),  # type: ignore[arg-type]
    )


def fallback(reason: str) -> Event:
    return Event("fallback", tid=9, kvm=VM, mmu=M1, detail=reason)


END = of_kind("notifier_end")
FIRST_PAGE = of_kind("unmap_begin", "unmap_end", detail="notifier", nested_ipa=N)
Change = Callable[[Events], Events]
MUTATIONS: list[tuple[str, Callable[[], Kernel], Change, set[str]]] = [
    ("unmap missing", one_page, lambda e: without(e, UNMAPS), {"safety"}),
    ("unmap missing, of two", two_pages, lambda e: without(e, FIRST_PAGE),
     {"conformance", "safety"}),
    ("unmap missing, last of two", two_pages, lambda e: without(e, of_kind(
        "unmap_begin", "unmap_end", nested_ipa=N + BLOCK)), {"safety"}),
    ("unmap of a stale entry missing", stale, lambda e: without(e, UNMAPS), {"conformance"}),
    ("unmap too short", one_block, lambda e: changed(e, UNMAPS, size=PAGE), {"conformance"}),
    ("unmap too long", one_page, lambda e: changed(e, UNMAPS, size=BLOCK), {"precision"}),
    ("unmap too long at the start", one_page,
     lambda e: changed(e, UNMAPS, nested_ipa=N - PAGE, size=2 * PAGE), {"precision"}),
    ("unmap on the wrong MMU", one_page, lambda e: changed(e, UNMAPS, mmu=M2),
     {"precision", "safety"}),
    ("unmap of the wrong nested IPA", one_page, lambda e: changed(e, UNMAPS, nested_ipa=N + PAGE),
     {"conformance", "safety"}),
    ("unmap twice", one_page, lambda e: inserted(e, END, *ranged_unmap(N, PAGE)), {"precision"}),
    ("unmap on another MMU as well", one_page,
     lambda e: inserted(e, END, *ranged_unmap(N, PAGE, M2)), {"precision"}),
    ("entries taken in the wrong order", two_pages,
     lambda e: inserted(without(e, FIRST_PAGE), END, *ranged_unmap(N, PAGE)), {"conformance"}),
    ("full unmap instead of ranged", one_page,
     lambda e: without(inserted(e, END, *full_unmap()), FIRST_PAGE), {"fallback"}),
    ("needless full unmap", one_page, lambda e: inserted(e, END, *full_unmap(M2)), {"fallback"}),
    ("needless fallback", one_page, lambda e: without(
        inserted(e, END, fallback("unknown_ipa"), *full_unmap()), FIRST_PAGE), {"fallback"}),
    ("needless fallback of a broken map", one_page,
     lambda e: inserted(e, END, fallback("broken"), *full_unmap()), {"fallback"}),
    ("needless fallback for a race", one_page,
     lambda e: inserted(e, END, fallback("raced"), *full_unmap()), {"fallback"}),
    ("fallback on UNKNOWN_IPA not taken", mapped_twice_stale,
     lambda e: without(without(e, FALLS_BACK), UNMAPS), {"fallback"}),
    ("fallback on UNKNOWN_IPA not taken, mappings left", mapped_twice,
     lambda e: without(without(e, FALLS_BACK), of_kind("unmap_begin", "unmap_end", full=True)),
     {"safety"}),
    ("ranged unmap on UNKNOWN_IPA", mapped_twice_stale, lambda e: inserted(
        without(without(e, FALLS_BACK), UNMAPS), END, *ranged_unmap(N, PAGE)), {"fallback"}),
    ("fallback of a broken map not taken", broken, lambda e: without(
        without(e, FALLS_BACK), of_kind("unmap_begin", "unmap_end", full=True)), {"fallback"}),
    ("fallback with no reason given", mapped_twice, lambda e: without(e, FALLS_BACK),
     {"fallback"}),
    ("fallback for another reason", mapped_twice,
     lambda e: changed(e, FALLS_BACK, detail="broken"), {"conformance"}),
    ("fallback without its full unmap", mapped_twice_stale,
     lambda e: without(e, UNMAPS), {"fallback"}),
    ("fallback with a ranged unmap", mapped_twice_stale, lambda e: inserted(
        without(e, UNMAPS), END, *ranged_unmap(N, PAGE)), {"fallback"}),
    ("fallback twice", mapped_twice_stale,
     lambda e: inserted(e, END, fallback("unknown_ipa"), *full_unmap()), {"conformance"}),
    ("race not noticed", raced, lambda e: without(without(e, FALLS_BACK), UNMAPS), {"fallback"}),
    ("race taken for something else", raced,
     lambda e: changed(e, FALLS_BACK, detail="unknown_ipa"), {"conformance"}),
    ("flag not cleared", broken, lambda e: changed(
        e, of_kind("record", detail="stored"), detail="skipped"), {"conformance"}),
    ("flag not set", broken, lambda e: changed(
        without(without(e, FALLS_BACK), of_kind("unmap_begin", "unmap_end", full=True)),
        of_kind("record", detail="stored"), detail="unchanged"), {"fallback"}),
    ("tree not emptied by a full unmap", mapped_twice, lambda e: [
        *e[: len(e) - 8], *changed(e[-8:], of_kind("record"), detail="unchanged")],
     {"conformance"}),
    ("entry not erased", one_page, lambda e: [
        *e, *e[-4:]], {"precision"}),
    ("overlap not merged", mapped_twice, lambda e: changed(
        e, of_kind("record", detail="overlapped"), detail="stored"), {"conformance"}),
    ("mapping not recorded", one_page, lambda e: without(e, of_kind("record")), {"conformance"}),
    ("recorded at another nested IPA", one_page,
     lambda e: changed(e, of_kind("record"), nested_ipa=N + PAGE), {"conformance"}),
    ("recorded for another canonical IPA", one_page,
     lambda e: changed(e, of_kind("record"), canonical_ipa=C + PAGE), {"conformance"}),
    ("recorded too small", one_block, lambda e: changed(e, of_kind("record"), size=PAGE),
     {"conformance"}),
    ("recorded for another MMU", one_page, lambda e: changed(e, of_kind("record"), mmu=M2),
     {"conformance"}),
    ("no revmap: full unmap missing", no_revmap, lambda e: without(e, UNMAPS), {"safety"}),
    ("no revmap: full unmap missing, nothing mapped", no_revmap_stale,
     lambda e: without(e, UNMAPS), {"fallback"}),
    ("no revmap: ranged unmap", no_revmap,
     lambda e: changed(e, UNMAPS, full=False, nested_ipa=N, size=PAGE), {"fallback"}),
    ("no revmap: a fallback", no_revmap, lambda e: inserted(e, END, fallback("broken")),
     {"conformance"}),
    ("no revmap: a record", no_revmap, lambda e: inserted(e, of_kind("map"), Event(
        "record", kvm=VM, mmu=M1, canonical_ipa=C, nested_ipa=N, size=PAGE, detail="stored")),
     {"conformance"}),
]  # fmt: skip


def variant(story: Callable[[], Kernel]) -> str:
    return "none" if story in (no_revmap, no_revmap_stale) else "maple-v2"
