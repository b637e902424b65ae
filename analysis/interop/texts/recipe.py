"""What to trace with ftrace or perf to get a trace of nvscope's: kprobe events, as data.

Where values lie is found in the running kernel's BTF; nothing here knows a kernel's version. See
RECIPES.md for what to do with it. Syntax: Documentation/trace/kprobetrace.rst of the kernel.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from nvscope.probes.errors import LackError
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.features import ARCH, Roots, read_host, revmap

GROUP = "nv"
HEADER = "# nvscope: "  # of the line that says what was traced where; JSON follows
TRACEFS = "/sys/kernel/tracing"

# Calls of a function under way at one time whose returns are all caught: kretprobes' maxactive.
# Faults can be as many as there are vCPUs; the kernel's own bound is 4096.
MAX_ACTIVE = 1024


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
_ARRAY = ("kvm_arch", "nested_mmus", "kvm_s2_mmu")
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


@dataclass(frozen=True)
class Recipe:
    """events: lines for kprobe_events; probes: probe point -> "kprobe FUNCTION", "" where the
    kernel lacks it; words: enum -> value -> word; offsets: of OFFSETS, in bytes; boot_id: of
    /proc/sys/kernel/random/boot_id, "" where not asked for; page_bytes: what a gfn counts.
    """

    kernel: str
    arch: str
    revmap: str
    events: tuple[str, ...]
    probes: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]]
    offsets: Mapping[str, int]
    boot_id: str = ""
    page_bytes: int = 4096

    def header(self) -> str:
        """The line that a recording has to begin with."""
        said = {
            "kernel": self.kernel,
            "arch": self.arch,
            "revmap": self.revmap,
            "probes": dict(self.probes),
            "words": {enum: dict(words) for enum, words in self.words.items()},
            "offsets": dict(self.offsets),
            "boot_id": self.boot_id,
            "page_bytes": self.page_bytes,
        }
        return HEADER + json.dumps(said)


def recipe(
    btf: Btf, kernel: str = "", arch: str = "aarch64", boot_id: str = "", page_bytes: int = 4096
) -> Recipe:
    """What to trace on the kernel that a BTF describes.

    A function or a member that it lacks leaves out the event.
    """
    kind = revmap(btf)
    events: list[str] = []
    probes: dict[str, str] = {}
    for wanted in WANTED:
        if wanted.revmap in ("", kind):
            lines = _lines(btf, wanted)
            events += lines
            probes[wanted.point] = f"kprobe {wanted.function}" if lines else ""
    events += _moves(btf)
    return Recipe(
        kernel,
        arch,
        kind,
        tuple(events),
        probes,
        {enum: _values(btf, enum, names) for enum, names in WORDS.items()},
        {name: btf.offset(*place) for name, place in OFFSETS.items() if btf.has_member(*place)},
        boot_id,
        page_bytes,
    )


def recipe_here(roots: Roots | None = None, arch: str | None = None) -> Recipe:
    """The same of the running kernel. Raises LackError."""
    host = read_host(roots, arch)
    if host.arch != ARCH:
        raise LackError(
            f"this is {host.arch}, and KVM's nested stage 2 is arm64's: print the recipe there"
        )
    boot_id = (roots or Roots()).proc / "sys/kernel/random/boot_id"
    text = boot_id.read_text().strip() if boot_id.is_file() else ""
    btf = Btf((roots or Roots()).sys / "kernel/btf/vmlinux")
    made = recipe(btf, host.kernel, host.arch, text, resource.getpagesize())
    return replace(made, revmap="none") if host.revmap == "none" else made


def _lines(btf: Btf, wanted: RecipeEvent) -> list[str]:
    if not btf.has_function(wanted.function):
        return []
    name = f"{GROUP}/{wanted.event}"
    try:
        values = [f"{key}={fetch(btf, wanted.function, at)}" for key, at in wanted.values.items()]
    except KeyError:
        return []
    begin, end = (f"{name}_begin", f"{name}_end") if wanted.back else (name, "")
    lines = [" ".join([f"p:{begin} {wanted.function}", *values])]
    if end:
        result = [f"result=$retval:{wanted.result}"] if wanted.result else []
        lines.append(" ".join([f"r{MAX_ACTIVE}:{end} {wanted.function}", *result]))
    return lines


def _moves(btf: Btf) -> list[str]:
    if not (btf.member_points_to(*_ARRAY) and btf.has_function("kvm_vcpu_init_nested")):
        return []
    # $arg1 on return: Linux 6.9 and later have it.
    array = btf.offset("kvm", "arch") + btf.offset("kvm_arch", "nested_mmus")
    kvm = btf.offset("kvm_vcpu", "kvm")
    return [MOVES.format(active=MAX_ACTIVE, group=GROUP, kvm=kvm, arch=array)]


def fetch(btf: Btf, function: str, at: At) -> str:
    """The fetch argument for a value. Raises KeyError where the kernel has no such thing."""
    text = _parameter(btf, function, at.parameter)
    for struct, member in at.path:
        text = f"+{btf.offset(struct, member)}({text})"
    return f"{text}:{at.type}"


def _parameter(btf: Btf, function: str, name: str) -> str:
    for parameter in btf.parameters(function):
        place = f"$arg{parameter.slot + 1}"
        if name.startswith("struct "):
            if btf.points_to(parameter.type_id, name.removeprefix("struct ")):
                return place
        elif parameter.name == name:
            return place
        else:
            inside = btf.member_behind(parameter.type_id, name)
            if inside is not None:
                return f"+{inside}({place})"
    raise KeyError(f"{name} of {function}")


def _values(btf: Btf, enum: str, names: Mapping[str, str]) -> dict[str, str]:
    found = {word: btf.enumerator(enum, name) for word, name in names.items()}
    return {str(value): word for word, value in found.items() if value is not None}


def ftrace_commands(made: Recipe) -> Iterator[str]:
    """Shell commands that record with ftrace: to be run as root on the traced host."""
    yield "set -e"
    yield f"cd {TRACEFS}"
    yield "echo 0 > tracing_on"
    yield "echo mono > trace_clock"
    yield "echo 65536 > buffer_size_kb   # of each CPU"
    yield ": > trace"
    for line in made.events:
        yield f"echo '{line}' >> kprobe_events"
    yield f"echo 1 > events/{GROUP}/enable"
    yield "echo 1 > tracing_on"
    yield "echo 'Enter ends the recording'; read -r _"
    yield "echo 0 > tracing_on"
    yield f"{{ echo '{made.header()}'; cat trace kprobe_profile; }} > /var/tmp/nv.ftrace"
    yield from removal(made)


def perf_commands(made: Recipe) -> Iterator[str]:
    """The same with perf, whose timestamps have all nine digits."""
    yield "set -e"
    yield f"cd {TRACEFS}"
    for line in made.events:
        yield f"echo '{line}' >> kprobe_events"
    # H: else what a task does for its vCPU passes for the guest's doing, which perf script leaves
    # out. It ends with the command that it runs: Ctrl-C would end this script as well.
    yield (
        f"perf record -e '{GROUP}:*:H' -a --clockid mono -m 8M -o /var/tmp/nv.data --"
        " sh -c \"echo 'Enter ends the recording'; read -r _\""
    )
    yield (
        f"{{ echo '{made.header()}'; perf script -i /var/tmp/nv.data --ns --show-lost-events"
        " -F comm,tid,cpu,time,event,trace; cat kprobe_profile; } > /var/tmp/nv.perf"
    )
    yield from removal(made)


def removal(made: Recipe) -> Iterator[str]:
    """Commands that remove the events."""
    yield f"echo 0 > {TRACEFS}/events/{GROUP}/enable"
    for line in made.events:
        yield f"echo '-:{line.split()[0].split(':', 1)[1]}' >> {TRACEFS}/kprobe_events"
