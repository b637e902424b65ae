"""What the live tests read off the exporter."""

from __future__ import annotations

from nvscope.lab.services import Metrics

UNMAPS = "nvscope_notifier_unmap_duration_seconds"
FAULTS = "nvscope_s2_fault_duration_seconds_count"
SHADOW_UNMAPS = "nvscope_shadow_unmaps_total"
SHADOW_BYTES = "nvscope_shadow_unmapped_bytes_total"
FULL_BYTES = 1 << 48  # the VM's PARange is 48 bits


def counted(metrics: Metrics, vm: str) -> dict[str, int]:
    """The exporter's counts of one VM, under the ledger's names."""
    return {
        "notifier_unmaps": int(metrics.sum(f"{UNMAPS}_count", vm=vm)),
        "canonical_faults": int(metrics.sum(FAULTS, vm=vm, stage="canonical")),
        "shadow_faults": int(metrics.sum(FAULTS, vm=vm, stage="shadow")),
        "full_unmaps_in_notifier": int(
            metrics.sum(SHADOW_UNMAPS, vm=vm, scope="full", within="notifier")
        ),
        "ranged_unmaps_in_notifier": int(
            metrics.sum(SHADOW_UNMAPS, vm=vm, scope="ranged", within="notifier")
        ),
    }
