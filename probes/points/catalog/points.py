"""The probe points: where each may attach, and the values that its program needs. Data only.

Values and members are named as the kernel names them and looked up in BTF; where kernels differ,
the alternatives stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable

from nvscope.probes.points.catalog.hooks import Enumerator, Hook, Kind, Member, ProbePoint

_KVM_PID = {"KVM_PID": Member("kvm", "userspace_pid")}
# From a struct kvm_s2_mmu to the struct kvm that it belongs to.
_MMU_KVM = _KVM_PID | {
    "KVM_ARCH": Member("kvm", "arch"),
    "MMU_ARCH": Member("kvm_s2_mmu", "arch"),
    "MMU_PGT": Member("kvm_s2_mmu", "pgt"),
}
_TRANS = {"TRANS_OUTPUT": Member("kvm_s2_trans", "output")}
_CANONICAL = {"ARCH_MMU": Member("kvm_arch", "mmu")}
_TRIGGERS = {"KVM_MM": Member("kvm", "mm"), "TASK_MM": Member("task_struct", "mm")}
_BROKEN = {"MMU_BROKEN": Member("kvm_s2_mmu", "nested_revmap_broken")}
_MMU = {"MMU": "struct kvm_s2_mmu"}
_UNMAP = {"MMU": "mmu", "START": "start", "SIZE": "size"}
_IPAS = {"NESTED": "nested_ipa", "CANONICAL": "canonical_ipa", "SIZE": "size"}
# What a points file may change of a record.
_RECORD_FLAGS = {"CASED": 0, "RETURNED": 0, "SIZE_IS": 0}
_FALLBACK = "kvm_revmap_fallback"
_RECORD = "kvm_revmap_record"
_TRACKED = "kvm_guest_s2_tracked"

PROBE_POINTS = (
    ProbePoint(
        "notifier_unmap",
        (Hook("kvm_unmap_gfn_range", {"KVM": "kvm"}, {"RANGE": "struct kvm_gfn_range"}),),
        _KVM_PID,
        traced={
            "RANGE_START": Member("kvm_gfn_range", "start"),
            "RANGE_END": Member("kvm_gfn_range", "end"),
            "RANGE_MAY_BLOCK": Member("kvm_gfn_range", "may_block"),
        },
        triggers=_TRIGGERS,
    ),
    ProbePoint(
        "s2_fault",
        (
            Hook(
                "user_mem_abort",
                {"VCPU": "vcpu"},
                {"NESTED": "nested", "FAULT_IPA": "fault_ipa"},
                maybe={"MMU": "mmu"},
                flags={"WHOLE": 0},
            ),
            # Linux 6.16 to 7.0: the compiler inlines the first into this one.
            Hook(
                "kvm_handle_guest_abort",
                {"VCPU": "vcpu"},
                maybe={"MMU": "mmu"},
                flags={"WHOLE": 1},
                needs=("s2_map", "s2_relax"),
                needs_traced=("s2_walk",),
                includes="l1_walk",
            ),
        ),
        _KVM_PID
        | _CANONICAL
        | {
            "KVM_ARCH": Member("kvm", "arch"),
            "MMU_PGT": Member("kvm_s2_mmu", "pgt"),
            "VCPU_KVM": Member("kvm_vcpu", "kvm"),
            "VCPU_MMU": Member("kvm_vcpu", "arch.hw_mmu"),
        },
        traced=_TRANS | {"VCPU_HPFAR": Member("kvm_vcpu", "arch.fault.hpfar_el2")},
    ),
    # What tells, in a function that handles all aborts, which of them are such faults.
    ProbePoint("s2_map", (Hook("kvm_pgtable_stage2_map", {}),), kind=Kind.BEGIN, helper=True),
    ProbePoint(
        "s2_relax", (Hook("kvm_pgtable_stage2_relax_perms", {}),), kind=Kind.BEGIN, helper=True
    ),
    ProbePoint(
        "s2_walk",
        (Hook("kvm_walk_nested_s2", {"TRANS": "struct kvm_s2_trans"}),),
        _TRANS,
        kind=Kind.RESULT,
        only_traced=True,
        helper=True,
    ),
    ProbePoint(
        "shadow_unmap",
        # The second does the work of the first. It also serves every canonical
        # notifier unmap: more calls to skip, hence second.
        (Hook("kvm_stage2_unmap_range", _UNMAP), Hook("__unmap_stage2_range", _UNMAP)),
        _MMU_KVM | _CANONICAL | {"MMU_VTCR": Member("kvm_s2_mmu", "vtcr")},
        maybe=_BROKEN,
        traced={"MMU_VTTBR": Member("kvm_s2_mmu", "tlb_vttbr")},
        triggers=_TRIGGERS,
    ),
    # What a shadow unmap ran within, beside a notifier unmap. All TLBIs by VMID and IPA go through
    # the first, and all of TLBI ALLE1 through the second.
    ProbePoint("tlbi_vmid", (Hook("kvm_s2_mmu_iterate_by_vmid", {}),)),
    ProbePoint("tlbi_all", (Hook("handle_alle1is", {}),)),
    # An MMU that was given to another context is unmapped before a vCPU enters it.
    ProbePoint("mmu_recycle", (Hook("check_nested_vcpu_requests", {}),)),
    ProbePoint(
        "mmu_free",
        (Hook("kvm_free_stage2_pgd", _MMU),),
        {"MMU_PGT": Member("kvm_s2_mmu", "pgt")},
        kind=Kind.BEGIN,
        traced=_MMU_KVM | _CANONICAL,
    ),
    ProbePoint(
        "vm_exit",
        (Hook("kvm_arch_destroy_vm", {"KVM": "kvm"}),),
        _KVM_PID,
        kind=Kind.BEGIN,
    ),
    ProbePoint(
        "revmap_record",
        (
            Hook(
                "kvm_nested_revmap_record",
                _MMU,
                _IPAS,
                flags=_RECORD_FLAGS,
                given=("OUTCOME",),
                enums={
                    "RECORD_STORED": Enumerator(_RECORD, "KVM_REVMAP_STORED"),
                    "RECORD_UNCHANGED": Enumerator(_RECORD, "KVM_REVMAP_UNCHANGED"),
                    "RECORD_OVERLAPPED": Enumerator(_RECORD, "KVM_REVMAP_OVERLAPPED"),
                    "RECORD_FAILED": Enumerator(_RECORD, "KVM_REVMAP_FAILED"),
                    "RECORD_SKIPPED": Enumerator(_RECORD, "KVM_REVMAP_WAS_BROKEN"),
                },
                revmap="maple",
            ),
            Hook(
                "kvm_guest_s2_track",
                _MMU,
                _IPAS,
                flags=_RECORD_FLAGS,
                given=("OUTCOME",),
                enums={
                    "RECORD_STORED": Enumerator(_TRACKED, "KVM_GUEST_S2_TRACKED"),
                    "RECORD_UNCHANGED": Enumerator(_TRACKED, "KVM_GUEST_S2_ALREADY_TRACKED"),
                    "RECORD_FAILED": Enumerator(_TRACKED, "KVM_GUEST_S2_NOT_TRACKED"),
                },
                revmap="tracking",
            ),
        ),
        _MMU_KVM,
        maybe=_BROKEN,
        kind=Kind.RESULT,
        revmap="maple",
    ),
    ProbePoint(
        "revmap_broken",
        (
            Hook("kvm_nested_revmap_break", _MMU, revmap="maple"),
            Hook("kvm_guest_s2_lose", _MMU, revmap="tracking"),
        ),
        _MMU_KVM,
        kind=Kind.BEGIN,
        revmap="maple",
        optional=True,  # else seen at the next record
    ),
    ProbePoint(
        "revmap_fallback",
        (
            Hook(
                "kvm_nested_revmap_fallback",
                {"REASON": "reason"},
                _MMU,
                flags={"GIVES_REASON": 1, "CASED": 0, "ONLY_WITHIN": 0},
                enums={
                    "FALLBACK_BROKEN": Enumerator(_FALLBACK, "KVM_REVMAP_FALLBACK_BROKEN"),
                    "FALLBACK_UNKNOWN_IPA": Enumerator(
                        _FALLBACK, "KVM_REVMAP_FALLBACK_UNKNOWN_IPA"
                    ),
                    "FALLBACK_RACED": Enumerator(_FALLBACK, "KVM_REVMAP_FALLBACK_RACED"),
                },
                revmap="maple",
            ),
            # It has but one reason: something that is mapped is not tracked.
            Hook(
                "kvm_guest_s2_fallback",
                {},
                _MMU,
                flags={"GIVES_REASON": 0, "CASED": 0, "ONLY_WITHIN": 0},
                revmap="tracking",
            ),
        ),
        traced=_MMU_KVM,
        revmap="maple",
        optional=True,  # else the reason is told by whether the map is broken
    ),
    ProbePoint(
        "mmu_init",
        (Hook("kvm_init_stage2_mmu", {"KVM": "kvm"} | _MMU),),
        _MMU_KVM | _CANONICAL,
        only_traced=True,
    ),
    ProbePoint(
        "shadow_map",
        (Hook("kvm_pgtable_stage2_map", {"PGT": "pgt", "ADDR": "addr", "SIZE": "size"}),),
        _MMU_KVM | _CANONICAL | {"PGT_MMU": Member("kvm_pgtable", "mmu")},
        kind=Kind.RESULT,
        only_traced=True,
    ),
    # NUMA balancing runs in the VM's own threads: no name tells it from what the VMM does.
    ProbePoint("numa_scan", (Hook("task_numa_work", {}),), optional=True, only_probed=True),
)

BY_NAME = {point.name: point for point in PROBE_POINTS}


def _nothing(_: str) -> bool:
    return False


def makes_sense(point: ProbePoint, revmap: str, has: Callable[[str], bool] = _nothing) -> bool:
    """Whether a point makes sense on a kernel with this reverse map.

    has: whether that kernel has a function. Of a map whose functions have names that are not known
    only the durations and the ranges of what is unmapped tell.
    """
    return point.revmap in ("", revmap) or any(
        hook.revmap == revmap and has(hook.symbol) for hook in point.hooks
    )


def applicable(
    revmap: str, *, trace: bool = False, has: Callable[[str], bool] = _nothing
) -> tuple[str, ...]:
    """The points that make sense on a kernel with this reverse map, for counting or for a trace.

    has: as in `makes_sense`.

    >>> "revmap_record" in applicable("maple"), "revmap_record" in applicable("none")
    (True, False)
    >>> "shadow_map" in applicable("none"), "shadow_map" in applicable("none", trace=True)
    (False, True)
    """
    return tuple(
        point.name
        for point in PROBE_POINTS
        if makes_sense(point, revmap, has)
        and not point.only_probed
        and not point.helper
        and (trace or not point.only_traced)
    )
