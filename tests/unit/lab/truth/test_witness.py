"""A workload's counts held against ftrace's: what differs is said, whatever the kernel is."""

from __future__ import annotations

from nvscope.lab.truth.witness import by_ftrace, differences
from tests.unit.lab.truth.witnessed import BITS, FULL, PID, facts, seen


def test_nothing_differs() -> None:
    assert list(differences(facts(), seen())) == []


def test_each_count_that_differs_is_a_line() -> None:
    notifiers = {"notifier": {f"{PID}": 2}, "shadow_unmap": {f"{PID},4096,notifier": 1}}
    assert list(differences(facts(), seen(**notifiers))) == [
        "full_unmaps_in_notifier: 0, not 1",
        "ranged_unmaps_in_notifier: 1, not 0",
        "ranged_bytes: 4,096, not 0",
        "notifier_unmaps: 2, not 1",
    ]


def test_what_no_ledger_knows_is_a_difference() -> None:
    odd = {"shadow_unmap": {f"{PID},{FULL},notifier": 1, f"{PID},{FULL},other": 2}}
    assert list(differences(facts(), seen(**odd))) == ["full_unmaps_other: 2, not 0"]
    reasons = {"fallback": {f"{PID},7": 1}, "record": {f"{PID},0x9": 1}}
    assert set(differences(facts(), seen(**reasons))) == {
        "records_9: 1, not 0",
        "fallbacks_7: 1, not 0",
    }


def test_a_kernel_that_has_its_faults_inlined() -> None:
    found = {name: keys for name, keys in seen().items() if name not in ("canonical", "shadow")}
    assert list(differences(facts(), found)) == []
    assert "shadow_faults" not in by_ftrace(found, [PID], BITS)


def test_of_an_unknown_reverse_map_only_what_must_hold_is_compared() -> None:
    told = facts(
        expected={"notifier_unmaps": 1, "canonical_faults": 1},
        bounds={"shadow_faults": [5, 9], "full_unmaps_in_notifier": [0, 1]},
    )
    # Ranged unmaps, and records of whatever kind, are its own affair.
    own = {"shadow_unmap": {f"{PID},8192,notifier": 3}, "record": {f"{PID},0": 4}}
    assert list(differences(told, seen(**own))) == []
    worse = {"shadow": {f"{PID}": 10}, "notifier": {f"{PID}": 2}}
    assert list(differences(told, seen(**worse))) == [
        "notifier_unmaps: 2, not 1",
        "shadow_faults: 10, not 5 to 9",
    ]
