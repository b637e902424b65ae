"""A VM whose page tables tests look at."""

from __future__ import annotations

from tests.unit.analysis.kernel import BLOCK, PAGE, Kernel
from tests.unit.analysis.traces import M1, M2, VM, booted

C, N = 4 * BLOCK, 0
PID = 4711


def lived() -> Kernel:
    """Two MMUs, some of whose mappings are gone again."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.fault(VM, M1, N + PAGE, C + PAGE, PAGE)
    kernel.fault(VM, M2, N, C + BLOCK, BLOCK)
    kernel.notifier(VM, C, PAGE)
    kernel.fault(VM, M1, N + 2 * PAGE, C + 2 * PAGE, PAGE)
    return kernel
