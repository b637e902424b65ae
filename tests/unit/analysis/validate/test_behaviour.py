"""Verdicts on behaviour: the same with the model and without it, and as a plain count has them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvscope.analysis.judging.findings import FULL_UNMAPS, MAX_WIDE, OVER_UNMAP, Result
from nvscope.analysis.model.variants import OF_KERNEL, VARIANTS
from nvscope.analysis.validate.engine import Engine
from nvscope.analysis.validate.verdicts import doubts_of, verdict
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import Reader, open_trace
from tests.unit.analysis.fleet import in_batches
from tests.unit.analysis.kernel import BLOCK, PAGE, PAGES, TOP, Kernel
from tests.unit.analysis.lives import altered, simulated, without_decisions
from tests.unit.analysis.mutations import MUTATIONS, STORIES, Change, variant
from tests.unit.analysis.naive import UnclearError, tell
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, M2, VM, Events, booted, judged

SAMPLES = sorted(Path("analysis/samples").resolve().rglob("*.arrows"))
C, N = 4 * BLOCK, 9 * BLOCK
NEVER = 1 << 60
# As many as there are examples nightly; else a quarter.
_MANY = PROFILE.max_examples // (1 if PROFILE.max_examples > 1000 else 4)
LIVES = settings(PROFILE, max_examples=_MANY)
FIGURES = (
    *("notifiers", "full_unmaps", "ranged_unmaps", "needed_unmaps", "needless_unmaps"),
    *("unmapped", "unmapped_bytes", "needed", "needed_bytes"),
)
# Of kernels whose decisions are not seen: their points are not there.
HIDDEN = About(revmap="tracking", probes={"shadow_map": "fentry f", "shadow_unmap": "fentry g"})


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """VMs are held by the compiled loop at the first occasion, and again at once."""
    monkeypatch.setattr("nvscope.analysis.compiled.compiled.PIECE", 1)
    monkeypatch.setattr("nvscope.analysis.compiled.migration._REST", 1)


def modelled(rows: Events, revmap: str) -> Result:
    engine = Engine(About(revmap=revmap), VARIANTS[revmap], compiled_after=NEVER)
    engine.feed_events(dict(enumerate(rows)))
    return engine.finish()


def by_behaviour(trace: dict[int, Event], name: str = "behaviour") -> Result:
    engine = Engine(HIDDEN, VARIANTS[name], compiled_after=NEVER)
    engine.feed_events(trace)
    return engine.finish()


def compiled(trace: dict[int, Event], batch: int, name: str = "behaviour") -> Result:
    engine = Engine(HIDDEN, VARIANTS[name], compiled_after=0)
    rows, at = np.array(list(trace)), 0
    for some in Reader(io.BytesIO(in_batches(list(trace.values()), batch))).batches():
        engine.feed(some, rows[at : at + some.num_rows])
        at += some.num_rows
    return engine.finish()


def behaviour(result: Result) -> dict[str, Any]:
    """What is said of it."""
    return {
        "unsafe": [(f.row, f.mmu, f.seen) for f in result.findings if f.invariant == "safety"],
        "safety": verdict(result, "safety"),
        "wide": result.wide_unmaps,
        "doubts": [doubts_of(result, figure) for figure in (OVER_UNMAP, FULL_UNMAPS)],
        "figures": {name: getattr(result, name) for name in FIGURES},
    }


def check(rows: Events, revmap: str, batch: int = 7) -> Result:
    """All ways say the same; returns what the model says."""
    result, trace = modelled(rows, revmap), without_decisions(rows)
    wanted = behaviour(result)
    assert behaviour(by_behaviour(trace)) == wanted
    assert behaviour(by_behaviour(dict(enumerate(rows)))) == wanted
    assert behaviour(compiled(trace, batch)) == wanted
    try:
        told = tell(trace)
    except UnclearError:
        return result
    assert [(row, mmu) for row, mmu, _ in wanted["unsafe"]] == told.unsafe
    assert wanted["figures"] == {name: told.figures[name] for name in FIGURES}
    return result


@given(st.integers(0, 1 << 32), st.sampled_from(["maple-v2", "none"]), st.integers(1, 200))
@LIVES
def test_lives_of_kernels_that_are_right_and_wrong(seed: int, revmap: str, batch: int) -> None:
    rows = simulated(seed, 40, revmap)
    check(rows, revmap, batch)
    check(altered(rows, random.Random(seed)), revmap, batch)


def test_there_is_all_of_it_in_these_lives() -> None:
    """Else they would agree for want of anything to say."""
    results, unclear = [], 0
    for seed in range(40):
        rows = altered(simulated(seed, 40), random.Random(seed))
        results.append(check(rows, "maple-v2"))
        try:
            tell(without_decisions(rows))
        except UnclearError:
            unclear += 1
    assert unclear < 10
    assert sum(result.violations["safety"] > 0 for result in results) > 10
    assert sum(result.needless_unmaps > 0 for result in results) > 10
    assert sum(result.full_unmaps > 0 for result in results) > 10
    assert sum(result.unmapped > result.needed for result in results) > 10
    assert sum(any(w.needed_by is not None for w in result.wide_unmaps) for result in results) > 10


@pytest.mark.parametrize("story", STORIES)
def test_what_a_correct_kernel_does(story: Callable[[], Kernel]) -> None:
    assert not check(story().events, variant(story)).violations


@pytest.mark.parametrize(
    ("story", "change"), [case[1:3] for case in MUTATIONS], ids=[case[0] for case in MUTATIONS]
)
def test_each_mutation(story: Callable[[], Kernel], change: Change) -> None:
    check(change(story().events), variant(story))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_samples(sample: Path) -> None:
    with open_trace(sample) as reader:
        rows = list(reader.events())
        check(rows, OF_KERNEL[reader.about.revmap])


# What is said of a kernel whose decisions are not seen.


def good() -> Kernel:
    kernel = booted()
    for page in range(3):
        kernel.fault(VM, M1, N + page * PAGE, C + page * PAGE, PAGE)
    kernel.notifier(VM, C, PAGE)
    return kernel


def answers(result: Result) -> list[str]:
    said = [verdict(result, name) for name in ("safety", "fallback", "precision", "conformance")]
    return [each.answer for each in said]


@pytest.mark.parametrize(
    ("name", "why"),
    [("behaviour", "no model knows"), ("tracking", "does not show its decisions")],
)
def test_safety_is_judged_and_the_others_are_not(name: str, why: str) -> None:
    result = by_behaviour(without_decisions(good().events), name)
    assert answers(result) == ["pass", *["not judged"] * 3]
    assert why in verdict(result, "precision").why
    assert (result.verdict, dict(result.unjudged)) == ("pass", {})


def test_records_that_were_not_seen_are_not_missed() -> None:
    """A model knows the kernel, and the recorder was not attached where it decides."""
    rows = list(without_decisions(good().events).values())
    for probes in ({"revmap_record": ""}, {"shadow_map": "fentry f"}):
        result = judged(rows, probes=probes)
        assert answers(result) == ["pass", *["not judged"] * 3]
        assert "revmap_record was not attached" in verdict(result, "conformance").why
        assert result.verdict == "pass"
    assert judged(rows).verdict == "violation", "they are missing where the recorder was attached"


def test_a_point_that_is_needed_is_unknown() -> None:
    for point in ("notifier_unmap", "shadow_unmap", "shadow_map"):
        result = judged(good().events, probes={"revmap_record": "fentry f", point: ""})
        assert answers(result) == ["unknown"] * 4
        assert point in next(iter(verdict(result, "safety").unknown))


def test_a_kernel_without_a_reverse_map() -> None:
    """All of an MMU goes each time, which is right; how much that is says the ratio."""
    kernel = booted("none")
    for page in range(3):
        kernel.fault(VM, M1, N + page * PAGE, C + page * PAGE, PAGE)
    kernel.notifier(VM, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    result = judged(kernel.events, "none")
    assert answers(result) == ["pass", "pass", "not judged", "not judged"]
    assert result.verdict == "pass"
    assert result.over_unmap_ratio == 3
    assert (result.full_unmaps, result.needed_unmaps, result.needless_unmaps) == (2, 1, 1)
    first, second = result.wide_unmaps
    assert (first.needed_by and first.needed_by.nested_ipa, second.needed_by) == (N, None)
    assert (first.unmapped, first.needed, second.unmapped) == (3, 1, 0)


@pytest.mark.parametrize("size", [PAGE, BLOCK])
def test_of_a_block_all_goes_whatever_is_asked_for(size: int) -> None:
    """A leaf goes whole: of 2 MiB into which the notifier's page reaches, all had to."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, BLOCK)
    kernel.fault(VM, M1, N + BLOCK, 30 * BLOCK, PAGE)
    begin = {"kvm": VM, "tid": 9, "canonical_ipa": C + PAGE, "size": PAGE}
    unmap = {"kvm": VM, "tid": 9, "mmu": M1, "nested_ipa": N + BLOCK - size, "size": size + PAGE}
    rows = [
        *kernel.events,
        Event("notifier_begin", **begin),
        Event("unmap_begin", detail="notifier", **unmap),
        Event("unmap_end", detail="notifier", **unmap),
        Event("notifier_end", **begin),
    ]
    result = by_behaviour(without_decisions(rows))
    assert result.verdict == "pass"
    assert (result.unmapped, result.needed) == (2, 1)
    assert (result.unmapped_bytes, result.needed_bytes) == (BLOCK + PAGE, BLOCK)
    assert behaviour(compiled(without_decisions(rows), 3)) == behaviour(result)


def test_a_page_in_place_of_a_block_leaves_no_rest_of_it() -> None:
    kernel = booted("none")
    kernel.fault(VM, M1, N, C, BLOCK)
    kernel.fault(VM, M1, N + PAGE, C + PAGE, PAGE)
    kernel.notifier(VM, C, PAGE)
    kernel.fault(VM, M1, N, C, BLOCK)
    kernel.notifier(VM, C + PAGE, PAGE)
    result = check(kernel.events, "none")
    assert (result.unmapped_bytes, result.needed_bytes) == (BLOCK + PAGE, BLOCK)


def test_what_came_while_it_was_unmapped_is_no_figure() -> None:
    kernel = booted("none")
    kernel.fault(VM, M1, N, C, PAGE)
    where = {"kvm": VM, "tid": 9}
    mapped = {"kvm": VM, "mmu": M1, "nested_ipa": N + PAGE, "canonical_ipa": C, "size": PAGE}
    unmap = {**where, "mmu": M1, "size": TOP, "full": True, "detail": "notifier"}
    rows = [
        *kernel.events,
        Event("notifier_begin", canonical_ipa=C + BLOCK, size=PAGE, **where),
        Event("unmap_begin", **unmap),
        Event("map", **mapped),
        Event("unmap_end", **unmap),
        Event("notifier_end", canonical_ipa=C + BLOCK, size=PAGE, **where),
    ]
    result = by_behaviour(dict(enumerate(rows)))
    assert doubts_of(result, OVER_UNMAP) == {"made while an unmap of its range was under way": 1}
    assert (result.needed_unmaps, result.needless_unmaps) == (0, 0)
    assert (result.full_unmaps, result.unmapped) == (1, 1)
    assert not doubts_of(result, FULL_UNMAPS)


def test_the_first_wide_unmaps_are_kept_in_all_ways() -> None:
    kernel = booted("none")
    for number in range(2 * MAX_WIDE):
        kernel.fault(VM, (M1, M2)[number % 2], PAGES[number % 7], PAGES[number % 7], PAGE)
        kernel.notifier(VM, PAGES[5], PAGE)
    result = check(kernel.events, "none")
    assert len(result.wide_unmaps) == MAX_WIDE
    assert [unmap.row for unmap in result.wide_unmaps] == sorted(
        unmap.row for unmap in result.wide_unmaps
    )
