"""What the live tests read off the exporter and off ftrace, under the ledger's names."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from nvscope.lab.host.services import Metrics
from nvscope.lab.host.vm import Lab
from nvscope.lab.truth.oracle import READ_COMMAND, parse_all
from nvscope.lab.truth.witness import (
    FALLBACKS,
    NOT_TRACED,
    OUTCOMES,
    SCOPES,
    WITHIN,
    by_ftrace,
    threads_of,
)
from nvscope.probes.traces.events import Event

UNMAPS = "nvscope_notifier_unmap_duration_seconds"
FAULTS = "nvscope_s2_fault_duration_seconds_count"
SHADOW_UNMAPS = "nvscope_shadow_unmaps_total"
SHADOW_BYTES = "nvscope_shadow_unmapped_bytes_total"

# Where nvscope counts faults: the second on kernels that have the first inlined, and there only
# those calls in which something was mapped.
USER_MEM_ABORT = "user_mem_abort"
GUEST_ABORT = "kvm_handle_guest_abort"
# The ledger's counts for the second -> those for the first, whose names are also nvscope's.
MAPPED = {
    "canonical_mapped": "canonical_faults",
    "shadow_mapped": "shadow_faults",
    "refaults_mapped": "refaults",
}

NOT_RECORDED = {*NOT_TRACED, *MAPPED, "reflected_aborts"}


def expected_at(hook: str, expected: Mapping[str, int]) -> dict[str, int]:
    """What nvscope must count, of a ledger's counts, where it counts faults at a hook.

    hook: USER_MEM_ABORT or GUEST_ABORT.

    >>> ledger = {"refaults": 3, "refaults_mapped": 2, "notifier_unmaps": 1}
    >>> expected_at(GUEST_ABORT, ledger), expected_at(USER_MEM_ABORT, ledger)
    ({'refaults': 2, 'notifier_unmaps': 1}, {'refaults': 3, 'notifier_unmaps': 1})
    """
    counts = {name: count for name, count in expected.items() if name not in MAPPED}
    if hook == GUEST_ABORT:
        counts |= {name: expected[mapped] for mapped, name in MAPPED.items() if mapped in expected}
    return counts


def by_exporter(metrics: Metrics, vm: str, ipa_bits: int) -> dict[str, int]:
    """The exporter's counts of one VM. ipa_bits: a full shadow unmap has 2**ipa_bits bytes."""

    def total(name: str, **labels: str) -> int:
        return int(metrics.sum(name, vm=vm, **labels))

    unmaps = {
        f"{scope}_unmaps_{word}": total(SHADOW_UNMAPS, scope=scope, within=label)
        for scope in SCOPES
        for word, label in WITHIN.items()
    }
    assert unmaps.pop("ranged_unmaps_in_recycling") == 0
    assert total(SHADOW_UNMAPS, within="other") == 0
    full_bytes = total(SHADOW_UNMAPS, scope="full") << ipa_bits
    return {
        "notifier_unmaps": total(f"{UNMAPS}_count"),
        "canonical_faults": total(FAULTS, stage="canonical"),
        "shadow_faults": total(FAULTS, stage="shadow"),
        **unmaps,
        "ranged_bytes": total(SHADOW_BYTES) - full_bytes,
        **{f"fallbacks_{why}": total("nvscope_fallbacks_total", reason=why) for why in FALLBACKS},
        **{f"records_{o}": total("nvscope_revmap_records_total", outcome=o) for o in OUTCOMES},
        "refaults": total("nvscope_refaults_total"),
        "broken_mmus": total("nvscope_revmap_broken"),
    }


def by_trace(events: Iterable[Event]) -> dict[str, int]:
    """The counts of a trace's rows, which are one VM's; those that are not 0."""
    counts: Counter[str] = Counter()
    words = {label: word for word, label in WITHIN.items()}
    for event in events:
        if event.kind == "notifier_end":
            counts["notifier_unmaps"] += 1
        elif event.kind == "fault":
            counts["shadow_faults" if event.mmu else "canonical_faults"] += 1
        elif event.kind == "unmap_end":
            scope = "full" if event.full else "ranged"
            counts[f"{scope}_unmaps_{words[event.detail]}"] += 1
            counts["ranged_bytes"] += 0 if event.full else event.size
        elif event.kind == "record":
            counts[f"records_{event.detail}"] += 1
        elif event.kind == "fallback":
            counts[f"fallbacks_{event.detail}"] += 1
    return {name: count for name, count in counts.items() if count}


def traced(lab: Lab) -> dict[str, dict[str, int]]:
    """What ftrace has counted so far."""
    return parse_all(lab.run(READ_COMMAND).stdout)


def oracle(lab: Lab, command: str) -> Any:
    """Run the guest's ftrace oracle; what it prints."""
    done = lab.run(f"python3 -m nvscope.lab.truth.oracle {command}")
    return json.loads(done.stdout) if done.stdout else None


def assert_ftrace_agrees(facts: dict[str, Any], seen: dict[str, dict[str, int]]) -> None:
    """The workload's ledger and ftrace say the same of all counts that this kernel lets it have."""
    lacking = {"canonical_faults": "canonical", "shadow_faults": "shadow"}
    untraced = NOT_TRACED | {name for name, event in lacking.items() if event not in seen}
    traced = {name: count for name, count in facts["expected"].items() if name not in untraced}
    assert by_ftrace(seen, threads_of(facts), facts["shadow_ipa_bits"]) == traced


def assert_all_agree(
    facts: dict[str, Any],
    metrics: Metrics,
    seen: dict[str, dict[str, int]] | None,
    hook: str = USER_MEM_ABORT,
) -> None:
    """The workload's ledger, the exporter and, if it was on, ftrace say the same of all counts.

    hook: where the exporter counts faults, see expected_at.
    """
    bits = facts["shadow_ipa_bits"]
    print(facts)  # pytest shows it when the test fails
    if seen is not None:
        assert_ftrace_agrees(facts, seen)
    expected = expected_at(hook, facts["expected"])
    del expected["reflected_aborts"]  # has no metric
    lost = metrics.values("nvscope_events_lost_total", "cause")
    assert {cause: count for cause, count in lost.items() if count} == {}
    assert by_exporter(metrics, facts["name"], bits) == expected
