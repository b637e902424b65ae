"""Faults where their own function is inlined: at the one around it, by both mechanisms.

On the lab's kernel, which has both functions, and where unmaps cost little.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.analysis.validate.jobs.run import validate
from nvscope.lab.host.services import Exporter, Recording, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.probes.traces.tracefile import open_trace
from tests.live.counts import (
    GUEST_ABORT,
    NOT_RECORDED,
    assert_all_agree,
    by_trace,
    expected_at,
    oracle,
    traced,
)

# What makes faults of each kind: retried ones, relaxed permissions, aborts for L1, L1's own EL1.
CASES = ("plain-ranged", "permission-upgrade", "pollution", "stage2-off", "late-vcpu")
FACTS_SECONDS = 120


@pytest.mark.parametrize("mechanism", ["fentry", "kprobe"])
def test_counted_at_the_function_around(lab_host: Lab, mechanism: str, tmp_path: Path) -> None:
    options = ("--strict", "--mechanism", mechanism, "--symbol", f"s2_fault={GUEST_ABORT}")
    facts = {}
    with Exporter(lab_host, *options) as exporter, Recording(lab_host, *options) as recording:
        oracle(lab_host, "start")
        for case in CASES:
            with Synthetic(lab_host, case, case, script="case") as guest:
                facts[case] = guest.facts(FACTS_SECONDS)
                page = exporter.scrape()
                assert_all_agree(facts[case], page, traced(lab_host), GUEST_ABORT)
                guest.release()
                assert guest.wait() == 0
        oracle(lab_host, "stop")
        (attached,) = page.select("nvscope_probe_attached", probe="s2_fault")
        assert (attached.labels["mechanism"], attached.labels["includes"]) == (mechanism, "l1_walk")
        trace = tmp_path / "trace.arrows"
        trace.write_bytes(recording.finish())
    with open_trace(trace) as reader:
        events = list(reader.events())
    for said in facts.values():
        told = expected_at(GUEST_ABORT, said["expected"])
        rows = [event for event in events if event.pid == said["pid"]]
        assert by_trace(rows) == {k: n for k, n in told.items() if n and k not in NOT_RECORDED}
    assert validate(trace).verdict == "pass"
