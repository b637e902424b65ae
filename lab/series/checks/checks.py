"""The checks: what each runs, and on which kernels it says anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nvscope.lab.host.services import Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.runs import selftests
from nvscope.lab.series.checks import facts as kernels
from nvscope.lab.series.checks import starving
from nvscope.lab.series.checks.facts import Facts
from nvscope.lab.series.checks.outcome import (
    FAILED,
    INAPPLICABLE,
    LEFT_OUT,
    PASSED,
    Item,
    Problem,
    Step,
    failed,
    not_tried,
)
from nvscope.lab.series.checks.play import Play, ended, linux
from nvscope.lab.series.checks.sizes import Sizes
from nvscope.lab.series.checks.watch import Task, Watch
from nvscope.lab.workloads.case import FAILURES
from nvscope.lab.workloads.cases.cases import CASES

PRICE_SECONDS = 3600.0
_NO_STORES = "stores into this kernel's reverse map, if it has one, cannot be made to fail"
STARVED = "starved"


@dataclass(frozen=True)
class Trial:
    """What a check works with.

    trace: where its recording goes; tested: KVM's selftests are there; no_linux: why no Linux can
    be a guest, "" where one can.
    """

    host: Lab
    facts: Facts
    sizes: Sizes
    trace: Path
    tested: bool
    no_linux: str

    def limit(self, full_unmaps: int) -> float:
        """Seconds until something must be done; with room for a machine that is busy."""
        return 240.0 + 3 * full_unmaps * self.facts.unmap_seconds


@dataclass(frozen=True)
class Check:
    """run: raises GuestError where the guest takes no commands.

    icount: in a host whose durations are instruction counts, and in which nothing is attached.
    """

    name: str
    title: str
    run: Callable[[Trial], Step]
    icount: bool = False


def _cases(trial: Trial) -> Step:
    plays, others = list[Play](), list[Item]()
    chosen = trial.sizes.cases(trial.facts)
    for name, case in CASES.items():
        if trial.sizes.only and name not in chosen:
            continue
        if case.injects and not trial.facts.injects:
            others.append(Item(name, INAPPLICABLE, why=_NO_STORES))
        elif name not in chosen:
            others.append(Item(name, LEFT_OUT, why=trial.sizes.why(trial.facts)))
        else:
            plays.append(Play(name, "case", (name,), limit_seconds=trial.limit(20)))
    return _watched("cases", trial, plays, others)


def _random(trial: Trial) -> Step:
    most = trial.sizes.full_unmaps(trial.facts)
    plays = []
    for seed in trial.sizes.seeds:
        options = (
            *("--seed", str(seed), "--operations", str(trial.sizes.operations)),
            *("--max-full-unmaps", str(most), *(["--el1"] if seed % 2 == 0 else [])),
        )
        limit = trial.limit(most + 40)
        plays.append(Play(f"seed-{seed}", "shuffle", options, limit_seconds=limit))
    return _watched("random", trial, plays)


def _failures(trial: Trial) -> Step:
    facts, plays, others = trial.facts, list[Play](), list[Item]()
    if facts.revmap in (kernels.NONE, kernels.OFF):
        return not_tried("failures", "no reverse map whose stores could fail", INAPPLICABLE)
    if facts.injects:
        options = (FAILURES, "--records", str(trial.sizes.records))
        plays.append(Play(FAILURES, "case", options, limit_seconds=trial.limit(60)))
    else:
        others.append(Item(FAILURES, INAPPLICABLE, why=_NO_STORES))
    if not facts.failslab:
        others.append(Item(STARVED, INAPPLICABLE, why="the kernel lacks CONFIG_FAILSLAB"))
    else:
        plays.append(_starved(trial))
    return _watched("failures", trial, plays, others)


def _starved(trial: Trial) -> Play:
    options = ("--unmaps", "11", "--pages", "16")
    own = trial.facts.revmap == kernels.ON
    slab = starving.SLABS[trial.facts.kind] if own else starving.ANY
    return Play(STARVED, "main", options, starved=slab, limit_seconds=trial.limit(60))


def _races(trial: Trial) -> Step:
    if trial.sizes.is_slow(trial.facts) and trial.sizes.quick:
        return not_tried("races", trial.sizes.why(trial.facts), LEFT_OUT)
    seconds = trial.sizes.race_seconds
    options = ("--seconds", str(seconds))
    limit = trial.limit(60) + seconds
    plays = [Play("race", "race", options, False, limit_seconds=limit)]
    return _watched("races", trial, plays, races=True)


def _selftests(trial: Trial) -> Step:
    if not trial.tested:
        why = "the selftests are of the lab kernel's source; this kernel is of another"
        return not_tried("selftests", why, INAPPLICABLE)
    items = []
    for test in trial.sizes.selftests:
        found = selftests.run(trial.host, test)
        outcome, problems = PASSED, tuple[Problem, ...]()
        if found.failed:
            what = f"{test.command} ended with exit code {found.exit_code}"
            problems = (Problem("test", what, tuple(found.said.splitlines())),)
            outcome = FAILED
        elif found.outcome == "skipped":
            outcome = INAPPLICABLE
        why = "it has skipped itself" if outcome == INAPPLICABLE else ""
        items.append(Item(test.name, outcome, problems, why, found.seconds))
    left_out = [test for test in selftests.SELFTESTS if test not in trial.sizes.selftests]
    items += [Item(test.name, LEFT_OUT, why="--quick") for test in left_out]
    return Step("selftests", tuple(items))


def _linux(trial: Trial) -> Step:
    if trial.sizes.quick:
        return not_tried("linux", "--quick", LEFT_OUT)
    if trial.no_linux:
        return not_tried("linux", trial.no_linux, INAPPLICABLE)
    if trial.sizes.is_slow(trial.facts):
        return not_tried("linux", trial.sizes.why(trial.facts), LEFT_OUT)
    return Watch(trial.host, trial.facts, trial.trace).run("linux", {"linux": linux})


def _cost(trial: Trial) -> Step:
    options = ["--unmaps", str(trial.sizes.samples(trial.facts))]
    if trial.facts.revmap == kernels.UNKNOWN:
        options.append("--unknown-map")
    with Synthetic(trial.host, "price", *options, hold=False, script="price") as guest:
        facts, problems = ended(guest, PRICE_SECONDS)
    if warnings := trial.host.warnings():
        problems += (Problem("complaint", warnings[0].strip(), tuple(warnings)),)
    if problems:
        return Step("cost", (failed("cost", *problems),))
    samples = {name: tuple(map(float, values)) for name, values in facts["samples"].items()}
    return Step("cost", tuple(Item(name, PASSED) for name in samples), samples=samples)


def _watched(
    name: str,
    trial: Trial,
    plays: list[Play],
    others: list[Item] | None = None,
    *,
    races: bool = False,
) -> Step:
    """Run plays; others: items that are known already; races: as of Watch.run."""
    rest = tuple(others or ())
    if not plays:
        return Step(name, rest)
    tasks: dict[str, Task] = {play.name: play for play in plays}
    step = Watch(trial.host, trial.facts, trial.trace).run(name, tasks, races=races)
    return replace(step, items=step.items + rest)


CHECKS = {
    check.name: check
    for check in (
        Check("cases", "what a reverse map can meet, case by case", _cases),
        Check("random", "random operations", _random),
        Check("failures", "stores and allocations that fail", _failures),
        Check("races", "notifiers that race with full unmaps", _races),
        Check("selftests", "KVM's own selftests", _selftests),
        Check("linux", "a Linux in a Linux under reclaim", _linux),
        Check("cost", "instructions of unmaps and faults", _cost, icount=True),
    )
}
