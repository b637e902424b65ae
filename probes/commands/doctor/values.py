"""What a function of the kernel is given: its parameters, and members of what these point to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nvscope.probes.kernel.btf import Btf

# Type names that are addresses, and those among them that count in pages.
ADDRESSES = {"phys_addr_t", "gpa_t", "hpa_t", "u64", "gfn_t", "unsigned long", "__u64"}
PAGES = {"gfn_t"}
SIZES = {"size_t"}  # never an address


@dataclass(frozen=True)
class Value:
    """Something that a function is given. path: as a points file has it; type: as C does."""

    path: str
    name: str
    type: str
    type_id: int


def values_of(btf: Btf, function: str) -> Iterator[Value]:
    """Parameters, and members of structs that these point to; of a vCPU the MMU in use."""
    for parameter in btf.parameters(function):
        name, type_id = parameter.name, parameter.type_id
        yield Value(name, name, btf.text(type_id).strip(), type_id)
        target = btf.target(type_id)
        if target is None or btf.struct_name(target) in ("kvm_s2_mmu", "kvm", ""):
            continue
        if btf.struct_name(target) == "kvm_vcpu":
            yield from _in_use(btf, name, type_id)
            continue
        for member, of in btf.parts(target):
            yield Value(f"{name}->{member}", member, btf.text(of).strip(), of)
            yield from _in_use(btf, f"{name}->{member}", of)


def _in_use(btf: Btf, path: str, type_id: int) -> Iterator[Value]:
    """The MMU that a vCPU uses, where the path leads to a vCPU."""
    if btf.points_to(type_id, "kvm_vcpu"):
        arch = btf.part(btf.target(type_id) or 0, "arch")
        if arch and (hw_mmu := btf.part(arch.type_id, "hw_mmu")):
            yield Value(f"{path}->arch.hw_mmu", "hw_mmu", "", hw_mmu.type_id)
