"""What came of a step: items with their problems, and samples of what was measured. Data only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PASSED, FAILED = "passed", "failed"
# Not tried: it should have been, and could not. The other two say why it need not be.
NOT_TRIED, INAPPLICABLE, LEFT_OUT = "not tried", "does not apply", "left out"
OUTCOMES = (FAILED, NOT_TRIED, PASSED, INAPPLICABLE, LEFT_OUT)  # the worst first


@dataclass(frozen=True)
class Problem:
    """Something wrong with a kernel.

    kind: "violation" of an invariant, wrong "counts", wrong "data" in the guest, a "complaint" of
    the kernel on its console, a "crash", a "hang", or a "test" that failed; said: one line; lines:
    what shows it, a finding with its sub-trace for instance.
    """

    kind: str
    said: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One thing that was tried. why: where it was not; said: what else there is to say."""

    name: str
    outcome: str
    problems: tuple[Problem, ...] = ()
    why: str = ""
    seconds: float = 0.0
    said: str = ""


@dataclass(frozen=True)
class Step:
    """What came of one check of one subject.

    facts: what the host is, of the first check; samples: of the check that measures, by name;
    figures: of the trace, see judge.FIGURES.
    """

    check: str
    items: tuple[Item, ...] = ()
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    figures: Mapping[str, int] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """The worst of its items."""
        return worst(item.outcome for item in self.items)


def worst(outcomes: Iterable[str]) -> str:
    """The worst of some outcomes.

    >>> worst(["passed", "does not apply"]), worst([])
    ('passed', 'left out')
    """
    return min(outcomes, key=OUTCOMES.index, default=LEFT_OUT)


def failed(name: str, *problems: Problem, seconds: float = 0.0) -> Item:
    """An item that showed something wrong."""
    return Item(name, FAILED, problems, seconds=seconds)


def not_tried(check: str, why: str, outcome: str = NOT_TRIED) -> Step:
    """A step of which nothing was tried."""
    return Step(check, (Item(check, outcome, why=why),))


def as_json(step: Step) -> dict[str, Any]:
    """JSON's types only; `step_of` reads it."""
    return asdict(step)


def step_of(data: Mapping[str, Any]) -> Step:
    """What `as_json` made. Raises KeyError, TypeError or ValueError for anything else."""
    items = tuple(
        Item(
            **{
                **item,
                "problems": tuple(
                    Problem(p["kind"], p["said"], tuple(p["lines"])) for p in item["problems"]
                ),
            }
        )
        for item in data["items"]
    )
    if any(item.outcome not in OUTCOMES for item in items):
        raise ValueError("an outcome that there is not")
    samples = {name: tuple(map(float, values)) for name, values in data["samples"].items()}
    figures = {name: int(value) for name, value in data["figures"].items()}
    return Step(
        str(data["check"]), items, float(data["seconds"]), dict(data["facts"]), samples, figures
    )
