"""The report as data: what is wrong, what got cheaper or dearer, what was not tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

import nvscope
from nvscope.lab.series.checks.checks import CHECKS
from nvscope.lab.series.checks.judge import FIGURES
from nvscope.lab.series.checks.outcome import FAILED, NOT_TRIED, PASSED, Item, Step, as_json, worst
from nvscope.lab.series.execution.plan import HOST, Plan
from nvscope.lab.series.report import bounds

FORMAT = 1
BASE, SERIES = "base", "series"
EXIT_RIGHT, EXIT_WRONG, EXIT_NOT_TRIED = 0, 1, 3

# What check "cost" measures, in instructions.
MEASURES = {
    "unmap": "a notifier unmap of one page",
    "recover": "writing 64 pages after it",
    "fault": "the first write to a page",
}
TITLES = {HOST: "boot"} | {check.name: check.title for check in CHECKS.values()}

Done = Mapping[tuple[int, str], Step]


def report(plan: Plan, done: Done) -> dict[str, Any]:
    """JSON's types only. done: the steps that there are, by (number of the candidate, check).

    left: how many there are not yet; an interrupted series has a report, too.
    """
    subjects = [_subject(plan, done, number) for number in range(len(plan.candidates))]
    data = {
        "nvscope": nvscope.__version__,
        "kind": "series",
        "format": FORMAT,
        "quick": plan.sizes.quick,
        "seeds": list(plan.sizes.seeds),
        "subjects": subjects,
        "checks": [{"name": name, "title": TITLES[name]} for name in (HOST, *plan.checks)],
        "wrong": list(_wrong(plan, done)),
        "costs": list(_costs(plan, done)),
        "not_tried": list(_not_tried(plan, done)),
        "left": sum(key not in done for key in plan.steps()),
        "steps": [
            {"subject": plan.candidates[number].name, **as_json(done[number, check])}
            for number, check in plan.steps()
            if (number, check) in done
        ],
    }
    return data | {"exit_code": exit_code(data)}


def exit_code(data: Mapping[str, Any]) -> int:
    """1: something is wrong with a series subject; 3: something could not be tried; 0."""
    outcomes = {subject["role"]: set[str]() for subject in data["subjects"]}
    for subject in data["subjects"]:
        outcomes[subject["role"]].update(subject["outcomes"])
    if FAILED in outcomes[SERIES]:
        return EXIT_WRONG
    whole = not data["left"] and NOT_TRIED not in outcomes[SERIES] | outcomes[BASE]
    return EXIT_RIGHT if whole else EXIT_NOT_TRIED


def _subject(plan: Plan, done: Done, number: int) -> dict[str, Any]:
    steps = {name: done[number, name] for name in (HOST, *plan.checks) if (number, name) in done}
    facts = steps[HOST].facts if HOST in steps else {}
    outcomes = sorted({item.outcome for step in steps.values() for item in step.items})
    return {
        "name": plan.candidates[number].name,
        "role": SERIES if number else BASE,
        "kernel": facts.get("kernel", ""),
        "revmap": facts.get("revmap", ""),
        "kind": facts.get("kind", ""),
        "page_bytes": facts.get("page_bytes"),
        "outcome": worst(outcomes),
        "outcomes": outcomes,
        "figures": _figures(steps.values()),
        "seconds": round(sum(step.seconds for step in steps.values()), 1),
        "cells": {name: cell(step) for name, step in steps.items()},
    }


def _figures(steps: Iterable[Step]) -> dict[str, int]:
    """judge.FIGURES of all traces of a kernel; {} where there is none."""
    found = [step.figures for step in steps if step.figures.keys() >= set(FIGURES)]
    return {name: sum(each[name] for each in found) for name in FIGURES} if found else {}


def cell(step: Step) -> str:
    """A step in a few words.

    >>> cell(Step("cases", (Item("a", "passed"), Item("b", "failed"), Item("c", "passed"))))
    '1 failed, 2 passed'
    """
    counts = dict.fromkeys((FAILED, NOT_TRIED, PASSED), 0)
    for item in step.items:
        if item.outcome in counts:
            counts[item.outcome] += 1
    if len(step.items) == 1:
        return step.outcome
    said = [f"{count} {outcome}" for outcome, count in counts.items() if count]
    return ", ".join(said) or step.outcome


def _items(plan: Plan, done: Done) -> Iterator[tuple[int, str, Item]]:
    for number, check in plan.steps():
        if step := done.get((number, check)):
            yield from ((number, check, item) for item in step.items)


def _wrong(plan: Plan, done: Done) -> Iterator[dict[str, Any]]:
    base = {
        (check, item.name)
        for number, check, item in _items(plan, done)
        if number == 0 and item.outcome == FAILED
    }
    for number, check, item in _items(plan, done):
        if item.outcome == FAILED:
            yield {
                "subject": plan.candidates[number].name,
                "role": SERIES if number else BASE,
                "check": check,
                "item": item.name,
                "on_base": (check, item.name) in base,
                "problems": [{**asdict(each), "lines": list(each.lines)} for each in item.problems],
            }


def _not_tried(plan: Plan, done: Done) -> Iterator[dict[str, Any]]:
    """What has no result, and why; items of one check that have the same reason are together."""
    found: dict[tuple[int, str, str, str], list[str]] = {}
    for number, check, item in _items(plan, done):
        if item.why and item.outcome != FAILED:
            found.setdefault((number, check, item.outcome, item.why), []).append(item.name)
    for (number, check, outcome, why), names in found.items():
        yield {
            "subject": plan.candidates[number].name,
            "check": check,
            "items": names,
            "outcome": outcome,
            "why": why,
        }


def _costs(plan: Plan, done: Done) -> Iterator[dict[str, Any]]:
    for name in MEASURES:
        means = {
            number: bounds.mean(step.samples[name])
            for number in range(len(plan.candidates))
            if (step := done.get((number, "cost"))) and step.samples.get(name)
        }
        for number, found in means.items():
            row = {"measure": name, "subject": plan.candidates[number].name, **_finite(found)}
            if number and 0 in means:
                row["change"] = _finite(bounds.change(means[0], found))
            yield row


def _finite(of: bounds.Mean | bounds.Change) -> dict[str, Any]:
    """null is "no bound"."""
    return {
        key: None if isinstance(value, float) and not isfinite(value) else value
        for key, value in asdict(of).items()
    }
