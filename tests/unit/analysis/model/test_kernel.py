"""The model against a simulated kernel: it agrees with all that a correct one does, in any order.

Three sentences of the reverse map's description are held to here. Safety: when a notifier unmap of
R returns, no shadow MMU maps a nested IPA to a canonical IPA in R (in the simulated kernel itself).
Conformance: from a state known to be empty, the model's decisions and the kernel's are the same,
event by event. And what v1 has more than v2, a tree to find the MMUs concerned, is no decision.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nvscope.analysis.judging.findings import Result
from nvscope.analysis.judging.notifiers import MAYBE_GONE
from nvscope.analysis.model.rules import UNKNOWN_IPA, VALID_ENTRY
from nvscope.analysis.model.shadow import Shadow
from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate.engine import Engine
from nvscope.probes.traces.events import About
from tests.unit.analysis.kernel import BLOCK, HUGE, PAGE, PAGES, SIZES, TOP, Kernel, Mmu
from tests.unit.analysis.profiles import PROFILE

KVMS = (0xFFFF000012340000, 0xFFFF000012350000)
MMUS = (0xFFFF000056780000, 0xFFFF000056781000)

kvms = st.sampled_from(KVMS)
mmus = st.sampled_from(MMUS)
pages = st.sampled_from(PAGES)
sizes = st.sampled_from(SIZES)
places = st.tuples(pages, pages, sizes).map(lambda p: (p[0] & -p[2], p[1] & -p[2], p[2]))
ranges = st.one_of(
    st.tuples(pages, sizes).map(lambda p: (p[0] & -p[1], p[1])),
    st.tuples(pages, st.sampled_from((2 * PAGE, BLOCK + PAGE, 2 * HUGE))),
)
# While an unmap lets others in: what they do.
others = st.lists(
    st.tuples(st.sampled_from(("fault", "notifier", "tlbi")), mmus, places), max_size=3
)


class Simulation(RuleBasedStateMachine):
    """One kernel, whose every event runs through the model at once."""

    variant = "maple-v2"
    checked_too = ("maple-v1",)
    doubts = frozenset[str]()  # why something may be left unjudged

    @initialize()
    def boot(self) -> None:
        self.kernel = Kernel(self.variant)
        about = About(revmap=self.variant.partition("-")[0])
        self.engines = [Engine(about, VARIANTS[v]) for v in (self.variant, *self.checked_too)]
        self.told = 0
        self.kernel.start_vm(KVMS[0])
        for mmu in MMUS:
            self.kernel.add_mmu(KVMS[0], mmu)

    def has(self, kvm: int, mmu: int) -> bool:
        return mmu in self.kernel.vms.get(kvm, {})

    @rule(kvm=kvms, mmu=mmus)
    def begin(self, kvm: int, mmu: int) -> None:
        if kvm not in self.kernel.vms:
            self.kernel.start_vm(kvm)
        if not self.has(kvm, mmu):
            self.kernel.add_mmu(kvm, mmu)

    @rule(
        kvm=kvms,
        mmu=mmus,
        place=places,
        fails=st.sampled_from((False, False, False, True)),
        result=st.sampled_from((0, 0, 0, -11)),
    )
    def fault(
        self, kvm: int, mmu: int, place: tuple[int, int, int], fails: bool, result: int
    ) -> None:
        if self.has(kvm, mmu):
            self.kernel.fault(kvm, mmu, *place, fails=fails, result=result)

    @precondition(lambda self: self.variant != "none")
    @rule(
        kvm=kvms,
        mmu=mmus,
        wanted=st.lists(
            st.tuples(places, st.sampled_from((False, False, True))), min_size=2, max_size=4
        ),
    )
    def faults_at_once(
        self, kvm: int, mmu: int, wanted: list[tuple[tuple[int, int, int], bool]]
    ) -> None:
        if self.has(kvm, mmu):
            self.kernel.faults_at_once(kvm, mmu, [(*place, fails) for place, fails in wanted])

    @rule(kvm=kvms, where=ranges, fails=st.booleans(), meanwhile=others)
    def notifier(
        self,
        kvm: int,
        where: tuple[int, int],
        fails: bool,
        meanwhile: list[tuple[str, int, tuple[int, int, int]]],
    ) -> None:
        """Nothing is mapped while one runs (mmu_invalidate_retry), but all else may happen."""
        if kvm not in self.kernel.vms:
            return
        acts = [
            ("recycle" if what == "fault" else what, mmu, place) for what, mmu, place in meanwhile
        ]
        self.kernel.notifier(kvm, *where, gap=self.gap(kvm, acts), erase_fails=fails)
        for it in self.kernel.vms[kvm].values():
            left = [p for p in it.canonical_pages().values() if where[0] <= p < sum(where)]
            assert not left, "the simulated kernel itself is not safe"

    @rule(kvm=kvms, mmu=mmus, where=ranges)
    def tlbi(self, kvm: int, mmu: int, where: tuple[int, int]) -> None:
        if self.has(kvm, mmu):
            self.kernel.tlbi(kvm, mmu, *where)

    @rule(kvm=kvms, mmu=mmus, meanwhile=others, sweep=pages)
    def recycle(
        self,
        kvm: int,
        mmu: int,
        meanwhile: list[tuple[str, int, tuple[int, int, int]]],
        sweep: int,
    ) -> None:
        if self.has(kvm, mmu):
            self.kernel.recycle(kvm, mmu, self.gap(kvm, meanwhile, all_at_once=True), sweep)

    @rule(kvm=kvms, mmu=mmus)
    def free(self, kvm: int, mmu: int) -> None:
        if self.has(kvm, mmu):
            self.kernel.free(kvm, mmu)

    @rule(kvm=kvms)
    def end(self, kvm: int) -> None:
        if kvm in self.kernel.vms:
            self.kernel.end_vm(kvm)

    def gap(
        self,
        kvm: int,
        acts: list[tuple[str, int, tuple[int, int, int]]],
        all_at_once: bool = False,
    ) -> Callable[[], None]:
        """What other tasks do: one thing each time the lock is dropped, or all the first time."""
        waiting = list(acts)

        def act() -> None:
            for _ in range(len(waiting) if all_at_once else min(len(waiting), 1)):
                what, mmu, (nested, canonical, size) = waiting.pop(0)
                if not self.has(kvm, mmu):
                    continue
                if what == "fault":
                    self.kernel.fault(kvm, mmu, nested, canonical, size)
                elif what == "tlbi":
                    self.kernel.tlbi(kvm, mmu, nested, size, tid=50 + len(waiting))
                elif what == "notifier":
                    self.kernel.notifier(kvm, canonical, size, tid=60 + len(waiting))
                else:
                    self.kernel.unmap_all(kvm, mmu, "recycling", 70 + len(waiting))

        return act

    @invariant()
    def nothing_is_found(self) -> None:
        new = dict(enumerate(self.kernel.events[self.told :], self.told))
        self.told = len(self.kernel.events)
        for engine in self.engines:
            engine.feed_events(new)
            assert not engine.result.findings
            assert set(engine.result.unjudged) <= self.doubts

    @invariant()
    def the_state_is_the_kernels(self) -> None:
        for engine in self.engines:
            for vm in engine.vms():
                for mmu in vm.mmus.values():
                    assert_same(self.kernel.vms[vm.kvm][mmu.shadow.mmu], mmu.shadow)

    def teardown(self) -> None:
        if not hasattr(self, "engines"):
            return
        results = [engine.finish() for engine in self.engines]
        for result in results:
            assert not result.findings
            assert set(result.unjudged) <= self.doubts
            assert decisions(result) == decisions(results[0])


def decisions(result: Result) -> tuple[object, ...]:
    return result.judged, result.unmapped_bytes, result.needed_bytes, result.notifiers


def assert_same(kernel: Mmu, model: Shadow) -> None:
    """The model's state is the kernel's, page by page; of what is not certain it knows at least."""
    assert not model.doubt
    assert model.broken == kernel.broken or model.mmu not in MMUS
    if model.tracked is not None:
        tracked = {(m.nested, m.canonical, m.size): model.is_certain(m) for m in model.tracked}
        assert {place for place, sure in tracked.items() if sure} <= set(kernel.tracked)
        assert set(kernel.tracked) <= tracked.keys()
    elif not kernel.broken:  # else an entry may have stayed that could not be taken out
        entries = [(e.start, e.end, e.value) for e in model.entries]
        assert entries == sorted(
            (start, end, UNKNOWN_IPA if nested is None else nested | VALID_ENTRY)
            for start, end, nested in kernel.revmap
        )
    all_of_it = {
        page: (m.canonical + page - m.nested, m.certain)
        for m in model.mappings
        for page in PAGES
        if m.nested <= page < m.nested + m.size
    }
    real = kernel.canonical_pages()
    assert real.items() <= {page: to for page, (to, _) in all_of_it.items()}.items()
    assert {page: to for page, (to, sure) in all_of_it.items() if sure}.items() <= real.items()


class WithTlbiRemoval(Simulation):
    variant = "maple-v3"
    checked_too = ()


class WithTracking(Simulation):
    """No fallback comes of a full unmap under way: what is mapped meanwhile may survive it."""

    variant = "tracking"
    checked_too = ()
    doubts = frozenset({MAYBE_GONE})


class WithoutRevmap(Simulation):
    variant = "none"
    checked_too = ()


TestMaple = Simulation.TestCase
TestTlbiRemoval = WithTlbiRemoval.TestCase
TestTracking = WithTracking.TestCase
TestWithoutRevmap = WithoutRevmap.TestCase
TestMaple.settings = TestTracking.settings = PROFILE
TestTlbiRemoval.settings = TestWithoutRevmap.settings = settings(
    PROFILE, max_examples=PROFILE.max_examples // 4
)


def test_the_pages_cover_the_address_space() -> None:
    assert min(PAGES) == 0
    assert max(PAGES) >= TOP - BLOCK
    assert pytest.approx(TOP) == max(PAGES) + BLOCK
