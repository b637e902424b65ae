"""Each thing that a reverse map can meet: stated counts, ledger, exporter and ftrace agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nvscope.lab.services import Exporter, Synthetic
from nvscope.lab.vm import Lab
from nvscope.lab.workloads.cases import CASES
from tests.live.conftest import Observed
from tests.live.counts import assert_all_agree, oracle, traced

FACTS_SECONDS = 120


EVERYWHERE = ["lab-fentry", "lab-kprobe", "plain-fentry"]


@pytest.fixture(scope="module")
def traced_host(observed: Observed) -> Iterator[Observed]:
    """A host under exporter and ftrace, which goes on through all cases."""
    oracle(observed[0], "start")
    yield observed
    oracle(observed[0], "stop")


def play(lab: Lab, exporter: Exporter, name: str, *options: str, timeout: float) -> dict[str, Any]:
    """Run a case on a VM of its name; all counts must agree."""
    with Synthetic(lab, name, name, *options, script="case") as guest:
        facts = guest.facts(timeout)
        assert_all_agree(facts, exporter.scrape(), traced(lab))
        guest.release()
        assert guest.wait() == 0
    return facts


@pytest.mark.parametrize("observed", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("name", CASES)
def test_counts_of_a_case_are_as_stated(traced_host: Observed, name: str) -> None:
    lab, exporter = traced_host
    facts = play(lab, exporter, name, timeout=FACTS_SECONDS)
    case = CASES[name]
    assert facts["stated"] == (case.on if facts["reverse_map"] else case.off)
    assert {key: count for key, count in facts["expected"].items() if count} == facts["stated"]


@pytest.mark.parametrize("observed", ["lab-fentry"], indirect=True)
def test_a_thousand_records_of_which_a_tenth_fail(traced_host: Observed) -> None:
    lab, exporter = traced_host
    facts = play(lab, exporter, "failures", timeout=600)
    counts = facts["expected"]
    assert facts["tried"] >= 1000
    assert 0.05 < counts["records_failed"] / facts["tried"] < 0.2
    # Each failure made some notifier unmap fall back, unless another came before it.
    assert counts["fallbacks_broken"] > counts["records_failed"] / 2
