"""Type information for tests, written with libbpf's own writer: no kernel needed."""

from __future__ import annotations

import ctypes
from pathlib import Path

from nvscope.probes.kernel.libbpf import library


class Blob:
    """Writes a BTF file: each method adds a type and returns its id."""

    def __init__(self) -> None:
        self._lib = library()
        self._lib.btf__new_empty.restype = ctypes.c_void_p
        self._lib.btf__raw_data.restype = ctypes.c_void_p
        self._btf = ctypes.c_void_p(self._lib.btf__new_empty())

    def integer(self, name: str, size: int) -> int:
        return self._added(self._lib.btf__add_int(self._btf, name.encode(), size, 0))

    def pointer(self, to: int) -> int:
        return self._added(self._lib.btf__add_ptr(self._btf, to))

    def const(self, of: int) -> int:
        return self._added(self._lib.btf__add_const(self._btf, of))

    def typedef(self, name: str, of: int) -> int:
        return self._added(self._lib.btf__add_typedef(self._btf, name.encode(), of))

    def struct(
        self, name: str, size: int, *members: tuple[str, int, int], union: bool = False
    ) -> int:
        """members: (name or "", type id, offset in bytes)"""
        add = self._lib.btf__add_union if union else self._lib.btf__add_struct
        made = self._added(add(self._btf, name.encode(), size))
        for member, type_id, offset in members:
            self._lib.btf__add_field(self._btf, member.encode(), type_id, offset * 8, 0)
        return made

    def enum(self, name: str, *names: str) -> int:
        """Values from 0 on."""
        made = self._added(self._lib.btf__add_enum(self._btf, name.encode(), 4))
        for value, each in enumerate(names):
            self._lib.btf__add_enum_value(self._btf, each.encode(), ctypes.c_int64(value))
        return made

    def function(self, name: str, returns: int, *parameters: tuple[str, int]) -> int:
        proto = self._added(self._lib.btf__add_func_proto(self._btf, returns))
        for parameter, type_id in parameters:
            self._lib.btf__add_func_param(self._btf, parameter.encode(), type_id)
        return self._added(self._lib.btf__add_func(self._btf, name.encode(), 0, proto))

    def write(self, path: Path) -> Path:
        size = ctypes.c_uint32()
        data = self._lib.btf__raw_data(self._btf, ctypes.byref(size))
        path.write_bytes(ctypes.string_at(data, size.value))
        self._lib.btf__free(self._btf)
        return path

    @staticmethod
    def _added(type_id: int) -> int:
        assert type_id > 0
        return type_id


# As the lab's patch has them.
RECORD_ENUM = ("STORED", "UNCHANGED", "OVERLAPPED", "FAILED", "WAS_BROKEN")
FALLBACK_ENUM = ("BROKEN", "UNKNOWN_IPA", "RACED")


def kernel(
    path: Path,
    *,
    fault: str = "desc",
    moves: bool = False,
    revmap: str = "none",
    prefix: str = "kvm_nested_revmap",
) -> Path:
    """A BTF file with what the catalog looks for.

    fault: how user_mem_abort() gets its values: "desc", in a struct, as in kernel 7.3; "mmu", the
    same with a member that says the MMU in use; "parameters", as of old; "inlined": there is none.
    moves: a VM's shadow MMUs are an array, not pointers to each, and so may be moved.
    prefix: of a maple reverse map's functions; with another one than the lab's patch they return
    nothing, and give no reason. Those of tracking are there if it is "kvm_guest_s2".
    """
    blob = Blob()
    u64, s32 = blob.integer("unsigned long", 8), blob.integer("int", 4)
    size = blob.typedef("phys_addr_t", blob.typedef("u64", u64))
    broken = [("nested_revmap_broken", s32, 24)] if revmap == "maple" else []
    mmu = blob.struct(
        "kvm_s2_mmu",
        40,
        ("tlb_vttbr", u64, 0),
        ("vtcr", u64, 8),
        ("arch", u64, 16),
        ("pgt", u64, 32),
        *broken,
    )
    mmu_pointer = blob.pointer(mmu)
    mmus = mmu_pointer if moves else blob.pointer(mmu_pointer)
    arch = blob.struct("kvm_arch", 48, ("nested_mmus", mmus, 0), ("mmu", mmu, 8))
    pids = blob.struct("", 8, ("pad", s32, 0), ("userspace_pid", s32, 4))
    mm = blob.pointer(blob.struct("mm_struct", 8))
    blob.struct("task_struct", 16, ("flags", u64, 0), ("mm", mm, 8))
    kvm = blob.struct("kvm", 72, ("mm", mm, 0), ("", pids, 8), ("arch", arch, 16))
    kvm_pointer = blob.pointer(kvm)
    info = blob.struct("kvm_vcpu_fault_info", 16, ("far_el2", u64, 0), ("hpfar_el2", u64, 8))
    vcpu_arch = blob.struct(
        "kvm_vcpu_arch", 32, ("ctxt", u64, 0), ("hw_mmu", mmu_pointer, 8), ("fault", info, 16)
    )
    vcpu = blob.struct("kvm_vcpu", 56, ("kvm", kvm_pointer, 16), ("arch", vcpu_arch, 24))
    trans = blob.struct("kvm_s2_trans", 8, ("output", u64, 0))
    vcpu_pointer, trans_pointer = blob.pointer(vcpu), blob.pointer(trans)
    if revmap == "tracking":
        blob.struct("kvm_guest_s2_mapping", 8, ("node", u64, 0))
    gfns = ("start", u64, 0), ("end", u64, 8), ("may_block", s32, 16)
    gfn_range = blob.pointer(blob.struct("kvm_gfn_range", 24, *gfns))
    blob.function("kvm_unmap_gfn_range", s32, ("kvm", kvm_pointer), ("range", gfn_range))
    unmap = (("mmu", mmu_pointer), ("start", size), ("size", u64), ("may_block", s32))
    blob.function("kvm_stage2_unmap_range", 0, *unmap)
    blob.function("kvm_s2_mmu_iterate_by_vmid", 0, ("kvm", kvm_pointer))
    blob.function("handle_alle1is", s32, ("vcpu", vcpu_pointer))
    blob.function("check_nested_vcpu_requests", 0, ("vcpu", vcpu_pointer))
    blob.function("kvm_free_stage2_pgd", 0, ("mmu", mmu_pointer))
    blob.function("kvm_init_stage2_mmu", s32, ("kvm", kvm_pointer), ("mmu", mmu_pointer))
    pgt = blob.pointer(blob.struct("kvm_pgtable", 8, ("mmu", mmu_pointer, 0)))
    blob.function("kvm_pgtable_stage2_map", s32, ("pgt", pgt), ("addr", u64), ("size", u64))
    blob.function("kvm_pgtable_stage2_relax_perms", s32, ("pgt", pgt), ("addr", u64))
    walk = (("vcpu", vcpu_pointer), ("gipa", size), ("result", trans_pointer))
    blob.function("kvm_walk_nested_s2", s32, *walk)
    blob.function("kvm_vcpu_init_nested", s32, ("vcpu", vcpu_pointer))
    blob.function("kvm_handle_guest_abort", s32, ("vcpu", vcpu_pointer))
    blob.function("task_numa_work", 0, ("work", u64))
    blob.function("kvm_arch_destroy_vm", 0, ("kvm", kvm_pointer))
    if revmap == "maple":
        _maple(blob, prefix, mmu_pointer, size)
    if revmap == "tracking" and prefix == "kvm_guest_s2":
        _tracking(blob, mmu_pointer, size)
    values = (("vcpu", vcpu_pointer), ("fault_ipa", size), ("nested", trans_pointer))
    if fault == "parameters":
        blob.function("user_mem_abort", s32, *values)
    elif fault != "inlined":
        values += (("mmu", mmu_pointer),) if fault == "mmu" else ()
        members = ((name, kind, 8 * i) for i, (name, kind) in enumerate(values))
        desc = blob.struct("kvm_s2_fault_desc", 8 * len(values), *members)
        blob.function("user_mem_abort", s32, ("s2fd", blob.pointer(blob.const(desc))))
    return blob.write(path)


def _maple(blob: Blob, prefix: str, mmu_pointer: int, size: int) -> None:
    if prefix != "kvm_nested_revmap":
        blob.function(f"{prefix}_record", 0, ("ipa", size), ("s2_mmu", mmu_pointer))
        blob.function(f"{prefix}_break", 0, ("s2_mmu", mmu_pointer))
        return
    record = blob.enum("kvm_revmap_record", *(f"KVM_REVMAP_{name}" for name in RECORD_ENUM))
    names = (f"KVM_REVMAP_FALLBACK_{name}" for name in FALLBACK_ENUM)
    reason = blob.enum("kvm_revmap_fallback", *names)
    ipas = (("nested_ipa", size), ("canonical_ipa", size), ("size", size))
    blob.function(f"{prefix}_record", record, ("mmu", mmu_pointer), *ipas)
    blob.function(f"{prefix}_break", 0, ("mmu", mmu_pointer))
    blob.function(f"{prefix}_fallback", 0, ("mmu", mmu_pointer), ("reason", reason))


def _tracking(blob: Blob, mmu_pointer: int, size: int) -> None:
    names = ("TRACKED", "ALREADY_TRACKED", "NOT_TRACKED")
    tracked = blob.enum("kvm_guest_s2_tracked", *(f"KVM_GUEST_S2_{name}" for name in names))
    ipas = (("nested_ipa", size), ("canonical_ipa", size), ("size", size))
    blob.function("kvm_guest_s2_track", tracked, ("mmu", mmu_pointer), *ipas)
    blob.function("kvm_guest_s2_lose", 0, ("mmu", mmu_pointer))
    blob.function("kvm_guest_s2_fallback", 0, ("mmu", mmu_pointer), ("may_block", size))
