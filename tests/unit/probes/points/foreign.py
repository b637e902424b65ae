"""The types of a kernel whose reverse map has names of its own."""

from __future__ import annotations

from pathlib import Path

from tests.unit.probes.kernel.btfs import Blob


def foreign_kernel(path: Path) -> Path:
    blob = Blob()
    u64, s32 = blob.integer("unsigned long", 8), blob.integer("int", 4)
    u8 = blob.integer("unsigned char", 1)
    ipa, gfn = blob.typedef("gpa_t", u64), blob.typedef("gfn_t", u64)
    members = ("arch", u64, 0), ("pgt", u64, 8), ("vtcr", u64, 16), ("tlb_vttbr", u64, 24)
    mmu = blob.struct("kvm_s2_mmu", 40, *members, ("lost", u8, 32))
    pointer = blob.pointer(mmu)
    kvm = blob.struct(
        "kvm", 24, ("userspace_pid", s32, 0), ("arch", blob.struct("kvm_arch", 16), 8)
    )
    arch = blob.struct("kvm_vcpu_arch", 16, ("pad", u64, 0), ("hw_mmu", pointer, 8))
    vcpu = blob.pointer(
        blob.struct("kvm_vcpu", 24, ("kvm", blob.pointer(kvm), 0), ("arch", arch, 8))
    )
    what = blob.struct("rmap_what", 24, ("vcpu", vcpu, 0), ("ipa", ipa, 8), ("order", u8, 16))
    said = blob.enum("rmap_said", "RMAP_SAME", "RMAP_NEW")
    blob.function("rmap_note", said, ("what", blob.pointer(what)), ("gfn", gfn))
    blob.function("rmap_drop_all", 0, ("mmu", pointer))
    gfns = blob.struct(
        "kvm_gfn_range", 24, *((n, u64, 8 * i) for i, n in enumerate(("start", "end", "may_block")))
    )
    blob.function("kvm_unmap_gfn_range", s32, ("kvm", blob.pointer(kvm)), ("r", blob.pointer(gfns)))
    return blob.write(path)
