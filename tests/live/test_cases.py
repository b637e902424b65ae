"""Each thing that a reverse map can meet: stated counts, ledger, exporter and ftrace agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nvscope.analysis.judging.vm_state import AFTER_FINDING
from nvscope.analysis.validate.jobs.run import validate
from nvscope.analysis.verify.compared import EQUAL
from nvscope.lab.host.services import Exporter, Recording, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.workloads.cases.bugs import BUGS, PARAMETERS, bugs_of
from nvscope.lab.workloads.cases.cases import CASES
from nvscope.probes.traces.events import Event
from nvscope.probes.traces.tracefile import open_trace
from tests.live.conftest import Observed
from tests.live.counts import NOT_RECORDED, assert_all_agree, by_trace, oracle, traced
from tests.live.witness import compare_at_end

FACTS_SECONDS = 120


EVERYWHERE = ["lab-fentry", "lab-kprobe", "off-fentry", "tracking-fentry"]
REVMAPS = {"lab-fentry": "maple", "tracking-fentry": "tracking"}


@dataclass
class Watched:
    """A host under exporter, ftrace and a recording.

    played: VM -> what it said it caused; bugs: bug -> the same of a VM that met it.
    """

    host: Lab
    exporter: Exporter
    recording: Recording
    played: dict[str, Any] = field(default_factory=dict)
    bugs: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def watched(observed: Observed) -> Iterator[Watched]:
    """All three go on through all cases."""
    host, exporter, mechanism = observed
    with Recording(host, "--strict", "--mechanism", mechanism) as recording:
        oracle(host, "start")
        yield Watched(host, exporter, recording)
        oracle(host, "stop")


def play(watched: Watched, name: str, *options: str, timeout: float) -> dict[str, Any]:
    """Run a case on a VM of its name; all counts must agree."""
    with Synthetic(watched.host, name, name, *options, script="case") as guest:
        facts = guest.facts(timeout)
        assert_all_agree(facts, watched.exporter.scrape(), traced(watched.host))
        guest.release()
        assert guest.wait() == 0
    watched.played[name] = facts
    return facts


@pytest.mark.parametrize("observed", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("name", CASES)
def test_counts_of_a_case_are_as_stated(watched: Watched, name: str) -> None:
    facts = play(watched, name, timeout=FACTS_SECONDS)
    assert facts["stated"] == CASES[name].stated(facts["revmap"])
    assert {key: count for key, count in facts["expected"].items() if count} == facts["stated"]


@pytest.mark.parametrize("observed", REVMAPS, indirect=True)
def test_a_thousand_records_of_which_a_tenth_fail(watched: Watched) -> None:
    facts = play(watched, "failures", timeout=600)
    counts = facts["expected"]
    assert facts["tried"] >= 1000
    # Where tracking goes on after a failure, more records come before the next one is made.
    least = 0.04 if facts["revmap"] == "tracking" else 0.05
    assert least < counts["records_failed"] / facts["tried"] < 0.2
    # Each failure made some notifier unmap fall back, unless another came before it.
    assert counts["fallbacks_broken"] > counts["records_failed"] / 2


@pytest.mark.parametrize(
    ("observed", "name"),
    [(where, name) for where, kind in REVMAPS.items() for name in bugs_of(kind)],
    indirect=["observed"],
)
def test_the_kernel_makes_a_mistake(watched: Watched, name: str) -> None:
    """Whether it is found, the recording tells at its end."""
    with Synthetic(watched.host, name, name, hold=False, script="bug") as guest:
        watched.bugs[name] = guest.facts(FACTS_SECONDS)
        assert guest.wait() == 0
    assert watched.host.run(f"cat {PARAMETERS[BUGS[name].revmap]}").stdout == "0\n"


@pytest.mark.parametrize("observed", EVERYWHERE, indirect=True)
def test_a_recording_of_all_that_was_played(watched: Watched, tmp_path: Path) -> None:
    """It has the same events; the kernel decided as the reference model does, but for the bugs.

    A third witness, which knows nothing of our probes: the page tables at the end of each story.
    """
    if not watched.played:
        play(watched, "pollution", timeout=FACTS_SECONDS)
    path = tmp_path / "trace.arrows"
    path.write_bytes(watched.recording.finish())
    rows = rows_by_pid(path)
    bugs = {facts["pid"]: facts["breaks"] for facts in watched.bugs.values()}
    assert rows.keys() - bugs.keys() == {facts["pid"] for facts in watched.played.values()}
    for name, facts in watched.played.items():
        expected = {key: n for key, n in facts["expected"].items() if n and key not in NOT_RECORDED}
        assert by_trace(rows[facts["pid"]]) == expected
        # A VM that ended before the recorder could look has no name.
        assert {event.vm for event in rows[facts["pid"]]} in ({name}, {""})
    for name, facts in [*watched.played.items(), *watched.bugs.items()]:
        if "tables" in facts:  # not of a thousand records
            found = compare_at_end(rows[facts["pid"]], facts["tables"])
            assert (found.verdict, found.why) == (EQUAL, ""), (name, found)
            assert any(mmu.both for mmu in found.mmus), name
    result = validate(path)
    assert result.judged["safety"] >= result.notifiers - len(bugs) > 0
    # The last is the first of that VM; what it does to safety may follow.
    first = {found.event.pid: found.invariant for found in reversed(result.findings)}
    assert first == bugs
    more = [f.invariant for f in result.findings if f.invariant != bugs[f.event.pid]]
    assert set(more) <= {"safety"}
    # What a mistake leaves behind is not judged.
    assert set(result.unjudged) <= ({AFTER_FINDING} if bugs else set())
    assert result.verdict == ("violation" if bugs else "pass")


def rows_by_pid(path: Path) -> dict[int, list[Event]]:
    """The events of a whole trace, by their VM's process."""
    rows: dict[int, list[Event]] = defaultdict(list)
    with open_trace(path) as reader:
        for event in reader.events():
            rows[event.pid].append(event)
        assert reader.complete
    return rows
