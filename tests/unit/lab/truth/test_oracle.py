"""What is made of ftrace's histograms, on kernels with and without user_mem_abort."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.lab.truth import oracle
from nvscope.lab.workloads.cases.cases import CASES
from nvscope.lab.workloads.ledger.counts import Counts
from tests.live.counts import (
    GUEST_ABORT,
    USER_MEM_ABORT,
    assert_ftrace_agrees,
    by_ftrace,
    expected_at,
)

PID = 77
IPA_BITS = 48
SEEN = {
    "notifier": {"77": 2, "78": 9},
    "canonical": {"77": 1},
    "shadow": {"77": 6, "78": 1},
    "canonical_map": {"77": 1},
    "canonical_relax": {},
    "shadow_map": {"77": 4},
    "shadow_relax": {"77": 1},
    "shadow_unmap": {f"77,{1 << IPA_BITS},notifier": 1, "77,4096,tlbi": 3},
    "reflected": {},
}


def test_faults_are_counted_at_both_hooks() -> None:
    counts = by_ftrace(SEEN, [PID], IPA_BITS)
    assert {name: count for name, count in counts.items() if count} == {
        "notifier_unmaps": 2,
        "canonical_faults": 1,
        "shadow_faults": 6,
        "canonical_mapped": 1,
        "shadow_mapped": 5,
        "full_unmaps_in_notifier": 1,
        "ranged_unmaps_in_tlbi": 3,
        "ranged_bytes": 3 * 4096,
    }


def test_the_counts_of_a_vms_threads_are_added_up() -> None:
    both = by_ftrace(SEEN, [PID, 78], IPA_BITS)
    assert (both["notifier_unmaps"], both["shadow_faults"]) == (11, 7)
    ledger = Counts(**both).as_dict()
    facts = {"pid": PID, "threads": [PID, 78], "shadow_ipa_bits": IPA_BITS, "expected": ledger}
    assert_ftrace_agrees(facts, SEEN)
    with pytest.raises(AssertionError):
        assert_ftrace_agrees(facts | {"threads": [PID]}, SEEN)


@pytest.mark.parametrize("inlined", [False, True])
def test_the_ledger_is_held_against_what_the_kernel_can_show(inlined: bool) -> None:
    lacking = {"canonical", "shadow"} if inlined else set()
    seen = {event: rows for event, rows in SEEN.items() if event not in lacking}
    ledger = Counts(refaults=3, refaults_mapped=2, **by_ftrace(SEEN, [PID], IPA_BITS))
    facts = {"pid": PID, "shadow_ipa_bits": IPA_BITS, "expected": ledger.as_dict()}
    assert_ftrace_agrees(facts, seen)
    ledger.shadow_mapped += 1
    with pytest.raises(AssertionError):
        assert_ftrace_agrees(facts | {"expected": ledger.as_dict()}, seen)


def test_expectations_by_hook() -> None:
    ledger = Counts(shadow_faults=6, shadow_mapped=5, refaults=3, refaults_mapped=2).as_dict()
    at_abort = expected_at(GUEST_ABORT, ledger)
    assert (at_abort["shadow_faults"], at_abort["refaults"]) == (5, 2)
    at_fault = expected_at(USER_MEM_ABORT, ledger)
    assert (at_fault["shadow_faults"], at_fault["refaults"]) == (6, 3)
    assert at_abort.keys() == at_fault.keys() == {name for name in ledger if "mapped" not in name}


def test_a_case_maps_in_each_fault_unless_it_says_otherwise() -> None:
    plain, retried = CASES["plain-ranged"].off, CASES["retried-fault"].off
    assert (plain["shadow_mapped"], plain["refaults_mapped"]) == (10, 5)
    assert (plain["canonical_mapped"], plain["canonical_faults"]) == (1, 1)
    assert (retried["shadow_faults"], retried["shadow_mapped"]) == (6, 5)
    assert (retried["refaults"], retried["refaults_mapped"]) == (3, 2)


def test_what_the_kernel_lacks_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = {probe.removeprefix("r ").split()[0] for probe, _ in oracle.EVENTS.values()}
    (tmp_path / "README").write_text("args: $arg<N>, <argname>[->field]\n")
    (tmp_path / "available_filter_functions").write_text("\n".join(functions - {"user_mem_abort"}))
    monkeypatch.setattr(oracle, "TRACEFS", tmp_path)
    appended: list[tuple[str, str]] = []
    monkeypatch.setattr(oracle, "_append", lambda name, line: appended.append((name, line)))
    oracle.start()
    made = {line.split("/")[1].split()[0] for name, line in appended if name == "kprobe_events"}
    assert made == oracle.EVENTS.keys() - {"canonical", "shadow"}


def test_a_kernel_that_knows_no_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "TRACEFS", tmp_path)
    (tmp_path / "README").write_text("args: $arg<N>\n")
    with pytest.raises(SystemExit, match="CONFIG_PROBE_EVENTS_BTF_ARGS"):
        oracle.start()


@pytest.mark.parametrize(
    ("functions", "within"),
    [
        (["kvm_unmap_gfn_range", "user_mem_abort", "kvm_arch_vcpu_ioctl_run"], "notifier"),
        (["kvm_s2_mmu_iterate_by_vmid", "handle_exit", "kvm_arch_vcpu_ioctl_run"], "tlbi"),
        (["handle_alle1is", "handle_exit", "kvm_arch_vcpu_ioctl_run"], "tlbi"),
        (["kvm_nested_s2_unmap_full", "check_nested_vcpu_requests"], "recycling"),
        (["kvm_arch_vcpu_ioctl_run", "kvm_vcpu_ioctl"], "recycling"),
        (["kvm_set_memslot", "kvm_vm_ioctl"], "other"),
    ],
)
def test_what_an_unmap_ran_within(functions: list[str], within: str) -> None:
    lines = "".join(f"  {name}+0x4/0x80\n" for name in functions)
    row = f"{{ common_pid: 77, size: 4096, common_stacktrace:\n{lines}}} hitcount:  2\n"
    assert oracle.parse_hist(row) == {f"77,4096,{within}": 2}
