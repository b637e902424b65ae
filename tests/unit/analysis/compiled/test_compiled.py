"""The compiled loop and the model alone say the same of a trace, and know the same in the end."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvscope.analysis.compiled.migration import Migration
from nvscope.analysis.model.variants import OF_KERNEL, VARIANTS
from nvscope.analysis.validate import engine as engines
from nvscope.analysis.validate.engine import Engine
from nvscope.probes.traces.tracefile import Reader, TraceError
from tests.unit.analysis.fleet import LIVES, NONSENSE, fleets, in_batches, mixed, told
from tests.unit.analysis.kernel import BLOCK, HUGE, PAGE, PAGES, Kernel
from tests.unit.analysis.lives import M3, simulated
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, M2, VM, VM2, Events, booted

NEVER = 1 << 60
SAMPLES = sorted(Path("analysis/samples").resolve().rglob("*.arrows"))
PERIODS = settings(PROFILE, max_examples=PROFILE.max_examples // 4)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """VMs are held at the first occasion, and again at once."""
    monkeypatch.setattr("nvscope.analysis.compiled.compiled.PIECE", 1)
    monkeypatch.setattr("nvscope.analysis.compiled.migration._REST", 1)


def state_of(engine: Engine) -> Any:
    """All that it knows of VMs, in words."""
    return [
        (
            *(vm.kvm, vm.doubt, vm.barrier, vm.since),
            [
                (
                    *(mmu.shadow.mmu, mmu.since, list(mmu.shadow.entries)),
                    sorted(mmu.shadow.mappings),
                    *(mmu.shadow.broken, mmu.shadow.used, mmu.shadow.freed, mmu.shadow.doubt),
                    *(mmu.shadow.unmaps_doubt, mmu.shadow.last_made, len(mmu.shadow.unmaps)),
                    [(c[0].at, c[1], list(c[2]), *c[3:]) for c in mmu.records.calls],
                )
                for mmu in vm.mmus.values()
            ],
        )
        for vm in engine.vms()
    ]


def run(trace: bytes, compiled_after: int, variant: str = "") -> tuple[Any, Any]:
    """What is said, and what is known in the end."""
    reader = Reader(io.BytesIO(trace))
    chosen = VARIANTS[variant or OF_KERNEL[reader.about.revmap]]
    engine = Engine(reader.about, chosen, compiled_after=compiled_after)
    try:
        for batch in reader.batches():
            engine.feed(batch)
    except TraceError as error:
        return told(error), None
    known = state_of(engine)
    return told(engine.finish()), known


def check(trace: bytes, *variants: str) -> None:
    """Judged as what it says, and by behaviour alone; or as these."""
    for variant in variants or ("", "behaviour"):
        assert run(trace, 0, variant) == run(trace, NEVER, variant)


@given(fleets(), st.integers(1, 50))
@PERIODS
def test_several_vms_with_violations_and_losses(rows: Events, batch: int) -> None:
    check(in_batches(rows, batch))


@given(NONSENSE, st.integers(1, 50))
@PERIODS
def test_rows_that_make_no_sense(rows: Events, batch: int) -> None:
    check(in_batches(rows, batch))


@pytest.mark.parametrize("life", range(len(LIVES)))
def test_each_mutation(life: int) -> None:
    for batch in (1, 3, 1000):
        check(in_batches(mixed([LIVES[life]], [], {}), batch))


def some_pages() -> Kernel:
    """Two VMs, in each of which some pages are mapped, so that both are held."""
    kernel = booted()
    kernel.start_vm(VM2)
    kernel.add_mmu(VM2, M3)
    for number in range(4):
        kernel.fault(VM, M1, BLOCK + number * PAGE, number * PAGE, PAGE)
        kernel.fault(VM2, M3, BLOCK + number * PAGE, number * PAGE, PAGE)
    return kernel


def faulted_behind_the_notifier() -> Events:
    """It is mapped again while the lock is dropped, and stays."""
    kernel = some_pages()
    kernel.notifier(VM, 0, 2 * PAGE)
    again = Kernel()
    again.start_vm(VM)
    again.add_mmu(VM, M1)
    again.fault(VM, M1, BLOCK, 0, PAGE)
    rows = kernel.events
    return rows[:-1] + again.events[2:] + rows[-1:]


def unmapped_less_than_begun() -> Events:
    kernel = some_pages()
    kernel.tlbi(VM, M1, BLOCK, 2 * PAGE)
    return [*kernel.events[:-1], replace(kernel.events[-1], size=PAGE)]


def notifiers_unmap_without_a_notifier() -> Events:
    kernel = some_pages()
    kernel.unmap(VM, M1, BLOCK, PAGE, "notifier", 9)
    return kernel.events


def mapped_while_unmapped() -> Events:
    kernel = some_pages()
    kernel.tlbi(VM, M1, BLOCK, PAGE)
    kernel.fault(VM, M1, BLOCK, 0, PAGE)
    *rows, begin, end, record, map_, fault = kernel.events
    return [*rows, record, begin, map_, end, fault]


def recorded_while_unmapped() -> Events:
    kernel = some_pages()
    kernel.recycle(VM, M1)
    kernel.fault(VM, M1, 9 * BLOCK, 9 * BLOCK, PAGE)
    *rows, end, record, map_, fault = kernel.events
    return [*rows, record, end, map_, fault]


def unmapped_by_another_task() -> Events:
    kernel = some_pages()
    kernel.notifier(VM, 0, PAGE)
    return [
        replace(e, tid=5) if e.kind in ("unmap_begin", "unmap_end") else e for e in kernel.events
    ]


def mapped_by_another_vms_mmu() -> Events:
    kernel = some_pages()
    kernel.fault(VM, M1, BLOCK, 0, PAGE)
    return [*kernel.events[:-2], replace(kernel.events[-2], mmu=M3), kernel.events[-1]]


def unmapped_far_and_wide() -> Events:
    """Of the entries in the range, one is not mapped any more."""
    kernel = some_pages()
    kernel.tlbi(VM, M1, BLOCK + PAGE, PAGE)
    kernel.tlbi(VM, M1, PAGE, HUGE)
    kernel.fault(VM, M1, BLOCK + PAGE, PAGE, PAGE)
    return kernel.events


def nothing_left_to_unmap() -> Events:
    """The block that the notifier unmaps is not mapped any more, nor is a page in its place."""
    kernel = some_pages()
    kernel.fault(VM, M1, 2 * HUGE, 4 * HUGE, HUGE)
    kernel.tlbi(VM, M1, 2 * HUGE, PAGE)
    kernel.fault(VM, M1, 2 * HUGE + BLOCK, 7 * BLOCK, PAGE)
    kernel.tlbi(VM, M1, 2 * HUGE + BLOCK, PAGE)
    kernel.notifier(VM, 4 * HUGE, PAGE)
    return kernel.events


def a_task_in_two_vms() -> Events:
    kernel = some_pages()
    kernel.notifier(VM2, 4 * BLOCK, PAGE)
    kernel.notifier(VM, 4 * BLOCK, PAGE)
    *rows, begin2, end2, begin, end = kernel.events
    return [*rows, begin2, begin, end, end2]


STRANGE = [
    nothing_left_to_unmap,
    a_task_in_two_vms,
    faulted_behind_the_notifier,
    unmapped_less_than_begun,
    notifiers_unmap_without_a_notifier,
    mapped_while_unmapped,
    recorded_while_unmapped,
    unmapped_by_another_task,
    mapped_by_another_vms_mmu,
    unmapped_far_and_wide,
]


@pytest.mark.parametrize("story", STRANGE, ids=lambda story: str(story.__name__))
def test_what_is_not_plain_is_left_to_the_model(story: Callable[[], Events]) -> None:
    rows = story()
    for batch in (1, 1000):
        check(in_batches(rows, batch))
        later = some_pages()
        later.notifier(VM, 0, HUGE)
        check(in_batches([*rows, *later.events[2:]], batch))


def test_the_notifier_that_left_a_page_is_found_out() -> None:
    said, _ = run(in_batches(faulted_behind_the_notifier(), 1000), 0)
    assert [finding["invariant"] for finding in said["findings"]] == ["safety"]


@given(
    st.integers(0, 1 << 32),
    st.integers(1, 200),
    st.sampled_from([("maple-v2", "maple-v2"), ("maple-v2", "behaviour"), ("none", "none")]),
    st.data(),
)
@PERIODS
def test_a_long_life(seed: int, batch: int, kind: tuple[str, str], data: st.DataObject) -> None:
    """As the simulated kernel made it, from somewhere on, and with some rows missing or altered."""
    revmap, variant = kind
    rows = simulated(seed, 60, revmap)
    start = data.draw(st.sampled_from([0, 0, len(rows) // 3]))
    rows = rows[start:]
    check(in_batches(rows, batch), variant)
    for _ in range(data.draw(st.integers(0, 3))):
        where = data.draw(st.integers(0, len(rows) - 1))
        if data.draw(st.booleans()):
            del rows[where]
        else:
            name = data.draw(st.sampled_from(["nested_ipa", "canonical_ipa", "tid", "size"]))
            value = data.draw(st.sampled_from([getattr(row, name) for row in rows[-20:]]))
            rows[where] = replace(rows[where], **{name: value})
        if not rows:
            return
    check(in_batches(rows, batch), variant)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_samples(sample: Path) -> None:
    check(sample.read_bytes())


def test_most_rows_of_a_real_trace_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the two would agree because only one of them is at work."""
    monkeypatch.setattr("nvscope.analysis.compiled.compiled.PIECE", 64)
    trace = (Path("analysis/samples") / "linux.arrows").read_bytes()
    rows = by_the_model(monkeypatch)
    assert run(trace, 0)[0]["rows"] == 2860
    assert 0 < rows() < 400


def test_simulated_rows_are_run_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = together = 0
    for seed in range(40):
        trace = in_batches(simulated(seed, 60), 1000)
        with monkeypatch.context() as patch:
            rows = by_the_model(patch)
            run(trace, 0)
            with_it = rows()
            run(trace, NEVER)
            together, alone = together + with_it, alone + rows() - with_it
    assert together < alone * 0.7


@pytest.mark.parametrize(("revmap", "variant"), [("maple-v2", "behaviour"), ("none", "none")])
def test_so_are_rows_of_kernels_without_decisions(
    revmap: str, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = together = 0
    for seed in range(40):
        trace = in_batches(simulated(seed, 60, revmap), 1000)
        with monkeypatch.context() as patch:
            rows = by_the_model(patch)
            run(trace, 0, variant)
            with_it = rows()
            run(trace, NEVER, variant)
            together, alone = together + with_it, alone + rows() - with_it
    assert together < alone * 0.7


def by_the_model(patch: pytest.MonkeyPatch) -> Any:
    """A function that says how many rows the model has judged since."""
    count = 0
    real = Engine._run

    def counted(self: Engine, rows: Any) -> None:
        nonlocal count
        listed = list(rows)
        count += len(listed)
        real(self, listed)

    patch.setattr(Engine, "_run", counted)
    return lambda: count


def test_a_long_trace_is_compiled_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = booted()
    while len(kernel.events) < engines.COMPILED_AFTER + 20_000:
        for page in PAGES:
            kernel.fault(VM, M1, page, page, PAGE)
        kernel.notifier(VM, 0, 2 * HUGE)
    trace = in_batches(kernel.events, 1 << 13)
    rows = by_the_model(monkeypatch)
    engine = Engine(Reader(io.BytesIO(trace)).about, VARIANTS["maple-v2"])
    for batch in Reader(io.BytesIO(trace)).batches():
        engine.feed(batch)
    assert engine.finish().verdict == "pass"
    assert rows() < engines.COMPILED_AFTER + (1 << 13) + 100


def test_without_numba_the_model_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = in_batches(simulated(1, 60), 50)
    monkeypatch.setitem(sys.modules, "numba", None)  # as if it were not installed
    monkeypatch.setattr(
        "nvscope.analysis.compiled.loop.loop.advance", lambda *_: pytest.fail("compiled")
    )
    assert run(trace, 0) == run(trace, NEVER)


def test_a_numba_that_does_not_work_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('it needs NumPy 2.9 or less')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "numba")
    trace = in_batches(simulated(1, 60), 50)
    assert run(trace, 0) == run(trace, NEVER)
    assert "it needs NumPy 2.9 or less" in caplog.text


@pytest.mark.parametrize("variant", ["maple-v1", "maple-v3"])
def test_other_kernels_are_left_to_the_model(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_compiled", lambda *_: pytest.fail("it was not to be asked"))
    trace = in_batches(booted("maple-v2").events, 5)
    run(trace, 0, variant)


def test_states_that_are_not_plain_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry of UNKNOWN_IPA, a range that is not aligned, a broken map."""
    odd: list[Kernel] = [booted() for _ in range(3)]
    odd[0].fault(VM, M1, BLOCK, BLOCK, PAGE)
    odd[0].fault(VM, M1, 2 * BLOCK, BLOCK, PAGE)
    odd[1].fault(VM, M1, BLOCK + PAGE, BLOCK + PAGE, BLOCK)
    odd[2].fault(VM, M1, BLOCK, BLOCK, PAGE, fails=True)
    held = 0
    real = Migration._hold

    def counted(self: Migration, vm: Any, moved: Any) -> None:
        nonlocal held
        held += any(map(len, moved))
        real(self, vm, moved)

    monkeypatch.setattr(Migration, "_hold", counted)
    for kernel in odd:
        for page in PAGES[:3]:
            kernel.fault(VM, M2, page, page, PAGE)
        check(in_batches(kernel.events, 1))
        assert held == 0
