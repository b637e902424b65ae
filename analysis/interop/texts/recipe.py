"""What to trace on this kernel: the events of wanted.py, with where values lie by its BTF.

See RECIPES.md for what to do with it. Syntax: Documentation/trace/kprobetrace.rst of the kernel.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nvscope.analysis.interop.texts.wanted import (
    GROUP,
    MOVES,
    NESTED_MMUS,
    OFFSETS,
    WANTED,
    WORDS,
    At,
    RecipeEvent,
)
from nvscope.probes.errors import LackError
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.features import ARCH, Roots, read_host, revmap

HEADER = "# nvscope: "  # of the line that says what was traced where; JSON follows

# Calls of a function under way at one time whose returns are all caught: kretprobes' maxactive.
# Faults can be as many as there are vCPUs; the kernel's own bound is 4096.
MAX_ACTIVE = 1024


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
    if not (btf.member_points_to(*NESTED_MMUS) and btf.has_function("kvm_vcpu_init_nested")):
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
