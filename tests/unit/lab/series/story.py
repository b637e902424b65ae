"""A series that never ran: three kernels, one of them with a mapping that survives."""

from __future__ import annotations

from nvscope.lab.series.checks.outcome import (
    FAILED,
    INAPPLICABLE,
    LEFT_OUT,
    NOT_TRIED,
    PASSED,
    Item,
    Problem,
    Step,
)
from nvscope.lab.series.execution.plan import Plan, plan

WORDS = ("stock", "lab", "lab:bug=lost-record")
SURVIVOR = Problem(
    "violation",
    "safety: expected no mapping into <0x40200000>; seen one",
    ("  1. safety: no shadow mapping leads into its range", "     at        row 7, notifier_end"),
)
WRONG_DATA = Problem("data", "plain-ranged: wrong data behind 0x80001000: 0x0, not 0x5")
NO_STORES = "stores into this kernel's reverse map, if it has one, cannot be made to fail"


def facts(kernel: str, revmap: str, kind: str = "") -> dict[str, object]:
    kind = kind or ("maple" if revmap == "on" else "none")
    return {
        "kernel": kernel,
        "page_bytes": 4096,
        "revmap": revmap,
        "kind": kind,
        "injects": revmap == "on",
        "failslab": True,
        "traces": True,
        "unmap_seconds": 20.0 if revmap == "none" else 0.7,
        "image": "00ff",
    }


def told() -> tuple[Plan, dict[tuple[int, str], Step]]:
    """A plan of three checks, and what came of it; the last kernel lacks a step."""
    asked = plan(WORDS, only=("cases", "failures", "cost"), quick=True)
    host = (Item("host", PASSED),)
    own = facts("7.3.4-nvscope", "on", "maple")
    trace = Item("trace", PASSED, said="judged: safety 12, fallback 3")
    skipped = Item("pollution", LEFT_OUT, why="--quick: a full unmap takes 20 s here")
    no_stores = Item("teardown", INAPPLICABLE, why=NO_STORES)
    ranged = Item("plain-ranged", PASSED, seconds=2.5)
    broken = Item("plain-ranged", FAILED, (SURVIVOR, WRONG_DATA), seconds=2.5)
    done = {
        (0, "host"): Step("host", host, 30.0, facts("7.3.4+deb13-arm64", "none")),
        (1, "host"): Step("host", host, 20.0, own),
        (2, "host"): Step("host", host, 20.0, own),
        (0, "cases"): Step("cases", (ranged, trace, skipped, no_stores), 80.0),
        (1, "cases"): Step(
            "cases",
            (ranged, Item("pollution", PASSED), trace),
            60.0,
            figures={"notifiers": 2, "full_unmaps": 1, "unmapped": 3, "needed": 2},
        ),
        (2, "cases"): Step(
            "cases", (broken, Item("pollution", NOT_TRIED, why="the guest was gone")), 60.0
        ),
        (0, "failures"): Step("failures", (Item("failures", INAPPLICABLE, why="no map"),)),
        (1, "failures"): Step("failures", (Item("failures", PASSED),), 50.0),
        (0, "cost"): Step("cost", samples={"unmap": (5.0e7, 5.1e7, 5.2e7), "fault": (9e3, 9e3)}),
        (1, "cost"): Step("cost", samples={"unmap": (6.8e3, 6.8e3), "fault": (9.05e3, 9.05e3)}),
    }
    return asked, done
