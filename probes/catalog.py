"""The probe points: where each may attach, and the values that its program needs. Data only.

Values and members are named as the kernel names them and looked up in BTF; where kernels differ,
the alternatives stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hook:
    """A kernel function that serves a probe point.

    values: C name -> the kernel's name for it: a parameter, or a member of the struct that a
    parameter points to (kernel 7.3 gathers the parameters of user_mem_abort() in a struct).
    """

    symbol: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Member:
    """A member's place in a struct; path goes through members by value ("a.b")."""

    struct: str
    path: str


@dataclass(frozen=True)
class ProbePoint:
    """A logical event; hooks: in order of preference; members: C name -> place."""

    name: str
    hooks: tuple[Hook, ...]
    members: Mapping[str, Member] = field(default_factory=dict)


_KVM_PID = Member("kvm", "userspace_pid")
_UNMAP = {"MMU": "mmu", "START": "start", "SIZE": "size"}

PROBE_POINTS = (
    ProbePoint(
        "notifier_unmap",
        (Hook("kvm_unmap_gfn_range", {"KVM": "kvm"}),),
        {"KVM_PID": _KVM_PID},
    ),
    ProbePoint(
        "s2_fault",
        (Hook("user_mem_abort", {"VCPU": "vcpu", "NESTED": "nested"}),),
        {"KVM_PID": _KVM_PID, "VCPU_KVM": Member("kvm_vcpu", "kvm")},
    ),
    ProbePoint(
        "shadow_unmap",
        # The second does the work of the first. It also serves every canonical
        # notifier unmap: more calls to skip, hence second.
        (Hook("kvm_stage2_unmap_range", _UNMAP), Hook("__unmap_stage2_range", _UNMAP)),
        {
            "KVM_PID": _KVM_PID,
            "KVM_ARCH": Member("kvm", "arch"),
            "ARCH_MMU": Member("kvm_arch", "mmu"),
            "MMU_ARCH": Member("kvm_s2_mmu", "arch"),
            "MMU_VTCR": Member("kvm_s2_mmu", "vtcr"),
        },
    ),
)

BY_NAME = {point.name: point for point in PROBE_POINTS}
