"""Functions of a kernel that may serve a reverse map's probe points, ranked, with the reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nvscope.probes.commands.doctor import lines
from nvscope.probes.commands.doctor.lines import NESTED
from nvscope.probes.commands.doctor.values import ADDRESSES, SIZES, Value, values_of
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.features import strange_members
from nvscope.probes.points.catalog.points import PROBE_POINTS

# Functions of KVM's files for arm64, which the linker keeps together; what lies between the first
# and the last of them, and so many symbols around, counts as KVM's.
_ANCHORS = (
    "kvm_arch_destroy_vm",
    "kvm_unmap_gfn_range",
    "kvm_init_stage2_mmu",
    "kvm_handle_guest_abort",
    "kvm_walk_nested_s2",
    "check_nested_vcpu_requests",
    "handle_alle1is",
    "kvm_pgtable_stage2_map",
)
_AROUND = 400
_FUNCTION_LINE = re.compile(rb"^\w+ [tT] (\w+)$", re.MULTILINE)
_TELLING = re.compile(
    r"rev(erse)?_?map|rmap|back_?ref|record|track|mapping|fallback|broken|break|_los[et]|unmap|full"
)
# What the kernel makes of a tracepoint or of a call's padding: no function of the map's own.
_MADE = re.compile(
    r"__bpf_trace_|__traceiter_|__probestub_|trace_event_|perf_trace_|__pfx_|__kvm_nvhe_"
)
_SHORT = 3  # letters of a member's name that say nothing
_MAP_WORDS = re.compile(r"rev(erse)?_?map|rmap|back_?ref|track|mapping")


@dataclass(frozen=True)
class Role:
    """What a function would have to look like. name: what its name says; not_name: what it must
    not; addresses: so many numbers of an address's type; without: what follows if there is none.
    """

    name: re.Pattern[str]
    not_name: re.Pattern[str]
    addresses: int
    without: str


_NEVER = re.compile(r"(?!)")
ROLES: Mapping[str, Role] = {
    "revmap_record": Role(
        re.compile(r"record|insert|add|store|track|note|create|map"),
        re.compile(
            r"unmap|untrack|remove|erase|invalidate|fallback|destroy|free|clear|find|lookup|del"
            r"|allowed|check"
        ),
        2,
        "traces then have no records, and validate cannot judge the map",
    ),
    "revmap_broken": Role(
        re.compile(r"break|broken|_los[et]"),
        re.compile(r"is_broken|breakpoint|pte"),  # break-before-make
        0,
        "records tell it later",
    ),
    "revmap_fallback": Role(
        re.compile(r"fallback|unmap_full|full_unmap|(unmap|zap|drop|flush)_all"),
        _NEVER,
        0,
        "a fallback's reason is then told from whether the map is broken",
    ),
}


@dataclass(frozen=True)
class Candidate:
    """A function for a role. lines: of the points file, each with what is not certain of it."""

    role: str
    function: str
    signature: str
    score: int
    why: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]


def candidates(btf: Btf, kallsyms: bytes) -> dict[str, list[Candidate]]:
    """Role -> functions, best first."""
    known = {hook.symbol: point.name for point in PROBE_POINTS for hook in point.hooks}
    found: dict[str, list[Candidate]] = {role: [] for role in ROLES}
    words = _words(btf)
    for name, near in telling(kallsyms, words):
        if not btf.has_function(name) or known.get(name, "revmap_") not in ("revmap_", *ROLES):
            continue
        values = list(values_of(btf, name))
        mmu = next((v for v in values if btf.points_to(v.type_id, "kvm_s2_mmu")), None)
        if mmu is None:
            continue
        for role in ROLES:
            if candidate := _candidate(btf, name, near, role, mmu, values, words):
                found[role].append(candidate)
    return {
        role: sorted(each, key=lambda c: (-c.score, c.function)) for role, each in found.items()
    }


def _words(btf: Btf) -> re.Pattern[str]:
    """What a map's functions may be named after: its state in struct kvm_s2_mmu, too."""
    own = [re.escape(name.rstrip("s")) for name in strange_members(btf) if len(name) > _SHORT]
    return re.compile("|".join((_MAP_WORDS.pattern, *own)))


def telling(kallsyms: bytes, words: re.Pattern[str] = _MAP_WORDS) -> Iterator[tuple[str, bool]]:
    """Functions whose names may tell, and whether they lie among KVM's. words: a map's.

    >>> list(telling(b"0 t kvm_add_mapping\\n0 t vfs_unmap\\n"))
    [('kvm_add_mapping', False)]
    """
    symbols = [match[1].decode() for match in _FUNCTION_LINE.finditer(kallsyms)]
    places = [at for at, name in enumerate(symbols) if name in _ANCHORS]
    first, last = (min(places) - _AROUND, max(places) + _AROUND) if len(places) > 1 else (0, -1)
    for at, name in enumerate(symbols):
        near = first <= at <= last
        ours = near or "kvm" in name or "s2_mmu" in name
        tells = _TELLING.search(name) or words.search(name)
        if ours and tells and not _MADE.match(name):
            yield name, near


def _candidate(
    btf: Btf,
    function: str,
    near: bool,
    role: str,
    mmu: Value,
    values: list[Value],
    words: re.Pattern[str],
) -> Candidate | None:
    wanted = ROLES[role]
    name_tells = wanted.name.search(words.sub("", function)) or wanted.name.search(function)
    if not name_tells or wanted.not_name.search(function):
        return None
    addresses = [v for v in values if v.type.removeprefix("const ") in ADDRESSES]
    sizes = [v for v in values if v.type.removeprefix("const ") in SIZES]
    if len(addresses) < wanted.addresses:
        return None
    why = [f"its name has {name_tells[0]!r}", f"it is given a struct kvm_s2_mmu ({mmu.path})"]
    score = 4
    if match := words.search(function):
        score, why = score + 2, [*why, f"and {match[0]!r}"]
    if near:
        score, why = score + 2, [*why, "it lies among KVM's functions"]
    if wanted.addresses:
        score += 2
        why.append(f"{len(addresses + sizes)} addresses or sizes")
    if any(NESTED.search(v.name) for v in addresses) and wanted.addresses:
        score, why = score + 2, [*why, "one is named as a nested IPA"]
    if wanted.addresses and btf.enumerators(btf.returns(function)):
        score, why = score + 1, [*why, "it returns an enum"]
    found = [(f'mmu = "{mmu.path}"', "")]
    if role == "revmap_record":
        found += lines.addresses(addresses, sizes) + lines.outcome(btf, function)
    elif role == "revmap_fallback":
        found += lines.reason(btf, function, values)
        if not re.search("fallback", function):
            found.append(("only_in_notifier = true", "others may call it as well"))
    signature = f"{function}({btf.signature(function)})"
    return Candidate(role, function, signature, score, tuple(why), tuple(found))
