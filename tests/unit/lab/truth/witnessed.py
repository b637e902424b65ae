"""What a workload says that it caused, and what ftrace saw of it."""

from __future__ import annotations

from typing import Any

from nvscope.lab.workloads.ledger.counts import Counts

PID, BITS = 77, 48
FULL = 1 << BITS


def seen(**more: dict[str, int]) -> dict[str, dict[str, int]]:
    """A take-back on a kernel without a reverse map."""
    return {
        "notifier": {f"{PID}": 1, "78": 5},
        "canonical": {f"{PID}": 1},
        "canonical_map": {f"{PID}": 1},
        "canonical_relax": {},
        "shadow": {f"{PID}": 9},
        "shadow_map": {f"{PID}": 9},
        "shadow_relax": {},
        "shadow_unmap": {f"{PID},{FULL},notifier": 1},
        "reflected": {},
        **more,
    }


def facts(**changes: Any) -> dict[str, Any]:
    counts = Counts(
        notifier_unmaps=1,
        canonical_faults=1,
        canonical_mapped=1,
        shadow_faults=9,
        shadow_mapped=9,
        full_unmaps_in_notifier=1,
        refaults=3,  # ftrace knows none
    )
    return {"pid": PID, "shadow_ipa_bits": BITS, "expected": counts.as_dict(), **changes}
