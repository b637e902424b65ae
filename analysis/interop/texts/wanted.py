"""What to trace with ftrace or perf to get a trace of nvscope's, as data: kprobe events.

Where values lie is found in the running kernel's BTF (recipe.py); nothing here knows a kernel's
version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GROUP = "nv"


@dataclass(frozen=True)
class At:
    """Where a value lies: a parameter, then (struct, member) for each pointer to follow.

    parameter: its name, or of a member of the struct that one points to, or "struct NAME": the
    first parameter that points to one.
    """

    parameter: str
    path: tuple[tuple[str, str], ...] = ()
    type: str = "x64"


@dataclass(frozen=True)
class RecipeEvent:
    """A probe on a function; point: the probe point that it serves; back: on its return, too;
    revmap: makes sense with this kind of reverse map alone.
    """

    event: str
    point: str
    function: str
    values: Mapping[str, At] = field(default_factory=dict)
    back: bool = False
    result: str = ""  # type of the return value, where it is wanted
    revmap: str = ""


def _of_mmu(*to_mmu: tuple[str, str], parameter: str = "struct kvm_s2_mmu") -> dict[str, At]:
    """The MMU, and the arch member of its VM: a `struct kvm` less offsetof(struct kvm, arch)."""
    return {
        "mmu": At(parameter, to_mmu),
        "arch": At(parameter, (*to_mmu, ("kvm_s2_mmu", "arch"))),
    }


def _of_kvm(*to_kvm: tuple[str, str], parameter: str = "kvm") -> dict[str, At]:
    return {
        "kvm": At(parameter, to_kvm),
        "pid": At(parameter, (*to_kvm, ("kvm", "userspace_pid")), "s32"),
    }


_RANGE = "struct kvm_gfn_range"

WANTED = (
    RecipeEvent(
        "notifier",
        "notifier_unmap",
        "kvm_unmap_gfn_range",
        _of_kvm()
        | {
            "start": At(_RANGE, (("kvm_gfn_range", "start"),)),
            "end": At(_RANGE, (("kvm_gfn_range", "end"),)),
            "may_block": At(_RANGE, (("kvm_gfn_range", "may_block"),), "u8"),
        },
        back=True,
    ),
    RecipeEvent(
        "fault",
        "s2_fault",
        "user_mem_abort",
        _of_kvm(("kvm_vcpu", "kvm"), parameter="vcpu")
        | {
            "mmu": At("vcpu", (("kvm_vcpu", "arch.hw_mmu"),)),
            "ipa": At("fault_ipa"),
            "nested": At("nested"),
            "output": At("nested", (("kvm_s2_trans", "output"),)),
        },
        back=True,
        result="s32",
    ),
    RecipeEvent(
        "unmap",
        "shadow_unmap",
        "kvm_stage2_unmap_range",
        _of_mmu()
        | {
            "start": At("start"),
            "size": At("size"),
            "vtcr": At("struct kvm_s2_mmu", (("kvm_s2_mmu", "vtcr"),)),
        },
        back=True,
    ),
    RecipeEvent(
        "map",
        "shadow_map",
        "kvm_pgtable_stage2_map",
        _of_mmu(("kvm_pgtable", "mmu"), parameter="pgt") | {"addr": At("addr"), "size": At("size")},
        back=True,
        result="s32",
    ),
    RecipeEvent("tlbi_vmid", "tlbi_vmid", "kvm_s2_mmu_iterate_by_vmid", back=True),
    RecipeEvent("tlbi_all", "tlbi_all", "handle_alle1is", back=True),
    RecipeEvent("recycle", "mmu_recycle", "check_nested_vcpu_requests", back=True),
    RecipeEvent("mmu_init", "mmu_init", "kvm_init_stage2_mmu", _of_kvm() | {"mmu": At("mmu")}),
    RecipeEvent("mmu_free", "mmu_free", "kvm_free_stage2_pgd", _of_mmu()),
    RecipeEvent("vm_exit", "vm_exit", "kvm_arch_destroy_vm", _of_kvm()),
    RecipeEvent(
        "record",
        "revmap_record",
        "kvm_nested_revmap_record",
        _of_mmu()
        | {"nested": At("nested_ipa"), "canonical": At("canonical_ipa"), "size": At("size")},
        back=True,
        result="u32",
        revmap="maple",
    ),
    RecipeEvent("broken", "revmap_broken", "kvm_nested_revmap_break", _of_mmu(), revmap="maple"),
    RecipeEvent(
        "fallback",
        "revmap_fallback",
        "kvm_nested_revmap_fallback",
        _of_mmu() | {"reason": At("reason", type="u32")},
        revmap="maple",
    ),
)

# Where this is an array of MMUs (Linux 6.16 to 7.1), the kernel may move it when a vCPU is
# initialised: what was known of their addresses is then wrong.
NESTED_MMUS = ("kvm_arch", "nested_mmus", "kvm_s2_mmu")

MOVES = (
    "r{active}:{group}/mmus kvm_vcpu_init_nested kvm=+{kvm}($arg1):x64"
    " mmus=+{arch}(+{kvm}($arg1)):x64"
)

# All events of a recipe, without their group.
EVENTS = frozenset(
    ["mmus"]
    + [
        name
        for each in WANTED
        for name in ([f"{each.event}_begin", f"{each.event}_end"] if each.back else [each.event])
    ]
)

# Enums whose values stand in the text: our word -> the kernel's name; enum -> these.
WORDS: Mapping[str, Mapping[str, str]] = {
    "kvm_revmap_record": {
        "stored": "KVM_REVMAP_STORED",
        "unchanged": "KVM_REVMAP_UNCHANGED",
        "overlapped": "KVM_REVMAP_OVERLAPPED",
        "failed": "KVM_REVMAP_FAILED",
        "skipped": "KVM_REVMAP_WAS_BROKEN",
    },
    "kvm_revmap_fallback": {
        "broken": "KVM_REVMAP_FALLBACK_BROKEN",
        "unknown_ipa": "KVM_REVMAP_FALLBACK_UNKNOWN_IPA",
        "raced": "KVM_REVMAP_FALLBACK_RACED",
    },
}

# What a reader has to know beside the events: name -> (struct, member), offsets in bytes.
OFFSETS = {"arch": ("kvm", "arch"), "canonical": ("kvm_arch", "mmu")}
