"""Workloads on a kernel that checks itself: lockdep, KASAN and the trees' own checks stay quiet."""

from __future__ import annotations

import pytest

from nvscope.lab.host.services import Linux, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.runs import selftests
from nvscope.lab.workloads.case import FAILURES
from nvscope.lab.workloads.cases.cases import CASES

FULL_UNMAPS = "12"  # without the reverse map each takes seconds on this kernel
RECORDS = "100"  # a tenth of which fail, each at the price of a full unmap
FACTS_SECONDS = 600
LINUX_SECONDS = 1200  # each step of a Linux in a Linux


def test_lockdep_and_kasan_are_there(quiet: Lab) -> None:
    assert "debug_locks:" in quiet.run("cat /proc/lockdep_stats").stdout
    quiet.run("grep -w kasan_report /proc/kallsyms")


@pytest.mark.parametrize("test", selftests.SELFTESTS, ids=lambda test: test.name)
def test_kvm_selftests(quiet: Lab, test: selftests.Selftest) -> None:
    result = selftests.run(quiet, test)
    print(result)
    assert result.outcome == "passed"


@pytest.mark.parametrize("seed", range(1, 4))
def test_random_operations(quiet: Lab, seed: int) -> None:
    options = ("--seed", str(seed), "--operations", "300", "--max-full-unmaps", FULL_UNMAPS)
    with Synthetic(quiet, f"shuffle-{seed}", *options, hold=False, script="shuffle") as guest:
        print(guest.facts(FACTS_SECONDS))
        assert guest.wait() == 0


@pytest.mark.parametrize("case", CASES)
def test_each_thing_that_a_reverse_map_can_meet(quiet: Lab, case: str) -> None:
    with Synthetic(quiet, case, case, hold=False, script="case") as guest:
        print(guest.facts(FACTS_SECONDS))
        assert guest.wait() == 0


def test_records_that_fail(quiet: Lab) -> None:
    options = (FAILURES, "--records", RECORDS)
    with Synthetic(quiet, FAILURES, *options, hold=False, script="case") as guest:
        print(guest.facts(FACTS_SECONDS))
        assert guest.wait() == 0


def test_notifiers_that_race_with_full_unmaps(quiet: Lab) -> None:
    with Synthetic(quiet, "race", "--seconds", "20", hold=False, script="race") as guest:
        print(guest.facts(FACTS_SECONDS))
        assert guest.wait() == 0


@pytest.mark.timeout(5 * LINUX_SECONDS)
def test_a_linux_in_a_linux(quiet: Lab) -> None:
    with Linux(quiet, "linux-l1", "--boot-timeout", str(LINUX_SECONDS)) as guest:
        event = {"event": ""}
        while event["event"] != "done":
            event = guest.event(LINUX_SECONDS)
            print(event)
