"""Functions of a kernel that may serve a reverse map's probe points, ranked, with the reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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

_NESTED = re.compile(r"nested|l2|n_?ipa|guest|fault_ipa")
_CANONICAL = re.compile(r"canon|l1|gpa|gfn|ipa|phys")
_SIZE = re.compile(r"size|len|bytes|granule")
# Type names that are addresses, and those among them that count in pages.
_ADDRESSES = {"phys_addr_t", "gpa_t", "hpa_t", "u64", "gfn_t", "unsigned long", "__u64"}
_PAGES = {"gfn_t"}
_SIZES = {"size_t"}  # never an address
# What an outcome's or a reason's name may have in it, by our words.
_OUTCOME_WORDS = {
    "skipped": r"skip|was_broken|ignored",
    "failed": r"fail|nomem|error|_not_|_lost",
    "overlapped": r"overlap|pollut|merged|unknown",
    "unchanged": r"unchanged|same|exist|already|dup",
    "stored": r"stored|added|inserted|recorded|tracked|new|ok|done",
}
_REASON_WORDS = {
    "broken": r"broken|fail|nomem",
    "unknown_ipa": r"unknown|pollut",
    "raced": r"race|raced|busy",
}


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


@dataclass(frozen=True)
class _Value:
    """Something that a function is given. path: as a points file has it; type: as C does."""

    path: str
    name: str
    type: str
    type_id: int


def candidates(btf: Btf, kallsyms: bytes) -> dict[str, list[Candidate]]:
    """Role -> functions, best first."""
    known = {hook.symbol: point.name for point in PROBE_POINTS for hook in point.hooks}
    found: dict[str, list[Candidate]] = {role: [] for role in ROLES}
    words = _words(btf)
    for name, near in telling(kallsyms, words):
        if not btf.has_function(name) or known.get(name, "revmap_") not in ("revmap_", *ROLES):
            continue
        values = list(_values(btf, name))
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


def _values(btf: Btf, function: str) -> Iterator[_Value]:
    """Parameters, and members of structs that these point to; of a vCPU the MMU in use."""
    for parameter in btf.parameters(function):
        name, type_id = parameter.name, parameter.type_id
        yield _Value(name, name, btf.text(type_id).strip(), type_id)
        target = btf.target(type_id)
        if target is None or btf.struct_name(target) in ("kvm_s2_mmu", "kvm", ""):
            continue
        if btf.struct_name(target) == "kvm_vcpu":
            yield from _in_use(btf, name, type_id)
            continue
        for member, of in btf.parts(target):
            yield _Value(f"{name}->{member}", member, btf.text(of).strip(), of)
            yield from _in_use(btf, f"{name}->{member}", of)


def _in_use(btf: Btf, path: str, type_id: int) -> Iterator[_Value]:
    """The MMU that a vCPU uses, where the path leads to a vCPU."""
    if btf.points_to(type_id, "kvm_vcpu"):
        arch = btf.part(btf.target(type_id) or 0, "arch")
        if arch and (hw_mmu := btf.part(arch.type_id, "hw_mmu")):
            yield _Value(f"{path}->arch.hw_mmu", "hw_mmu", "", hw_mmu.type_id)


def _candidate(
    btf: Btf,
    function: str,
    near: bool,
    role: str,
    mmu: _Value,
    values: list[_Value],
    words: re.Pattern[str],
) -> Candidate | None:
    wanted = ROLES[role]
    name_tells = wanted.name.search(words.sub("", function)) or wanted.name.search(function)
    if not name_tells or wanted.not_name.search(function):
        return None
    addresses = [v for v in values if v.type.removeprefix("const ") in _ADDRESSES]
    sizes = [v for v in values if v.type.removeprefix("const ") in _SIZES]
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
    if any(_NESTED.search(v.name) for v in addresses) and wanted.addresses:
        score, why = score + 2, [*why, "one is named as a nested IPA"]
    if wanted.addresses and btf.enumerators(btf.returns(function)):
        score, why = score + 1, [*why, "it returns an enum"]
    lines = [(f'mmu = "{mmu.path}"', "")]
    if role == "revmap_record":
        lines += _addresses(addresses, sizes) + _outcome(btf, function)
    elif role == "revmap_fallback":
        lines += _reason(btf, function, values)
        if not re.search("fallback", function):
            lines.append(("only_in_notifier = true", "others may call it as well"))
    signature = f"{function}({btf.signature(function)})"
    return Candidate(role, function, signature, score, tuple(why), tuple(lines))


def _addresses(found: list[_Value], sizes: list[_Value]) -> list[tuple[str, str]]:
    """Lines for the nested IPA, the canonical one, and the size. sizes: those that are sure."""
    left = list(found)

    def take(pattern: re.Pattern[str] | None) -> _Value | None:
        for value in left:
            if pattern is None or pattern.search(value.name):
                left.remove(value)
                return value
        return None

    size = next((v for v in sizes if _SIZE.search(v.name)), None) or take(_SIZE)
    end = None if size else take(re.compile(r"^(end|last)"))
    nested = take(_NESTED)
    canonical = take(_CANONICAL)
    unsure = "" if nested and canonical else "the names do not tell which is which"
    nested, canonical = nested or take(None), canonical or take(None)
    lines = [
        (_line(key, value), unsure)
        for key, value in (("nested_ipa", nested), ("canonical_ipa", canonical))
        if value
    ]
    lines += [
        (f"# {key} = …", "no parameter looks like it")
        for key, value in (("nested_ipa", nested), ("canonical_ipa", canonical))
        if not value
    ]
    if size:
        return [*lines, (_line("size", size), "")]
    if end:
        return [*lines, (_line(end.name[:4].rstrip("_"), end), "of which IPA is it the end?")]
    return [*lines, ('size = { value = 0, unit = "order" }', "no parameter tells it: a page")]


def _line(key: str, value: _Value) -> str:
    if value.type in _PAGES:
        return f'{key} = {{ value = "{value.path}", unit = "page" }}'
    return f'{key} = "{value.path}"'


def _outcome(btf: Btf, function: str) -> list[tuple[str, str]]:
    result = btf.returns(function)
    names = btf.enumerators(result)
    if names:
        return _cases('outcome = "return"', "outcomes", names, _OUTCOME_WORDS)
    if btf.text(result).strip() == "int":
        usual = 'outcomes = { stored = 0, failed = "negative" }'
        return [('outcome = "return"', ""), (usual, "as kernel functions mostly return")]
    return [('# outcome = "return"', f"it returns {btf.text(result).strip()}")]


def _reason(btf: Btf, function: str, values: list[_Value]) -> list[tuple[str, str]]:
    for value in values:
        if names := btf.enumerators(value.type_id):
            return _cases(f'reason = "{value.path}"', "reasons", names, _REASON_WORDS)
    return [('# reason = "…"', "no parameter is an enum")]


def _cases(
    where: str, key: str, names: list[str], words: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Where an enum is, and its names by our words; those that fit none are told."""
    told: dict[str, list[str]] = {}
    left = []
    for name in names:
        word = next((w for w, sign in words.items() if re.search(sign, name.lower())), "")
        told.setdefault(word, []).append(name) if word else left.append(name)
    each = [f"{word} = [{', '.join(map(_quoted, names))}]" for word, names in told.items()]
    unsure = f"not placed: {', '.join(left)}" if left else "by the names"
    if not each:
        return [(f"# {where}", ""), (f"# {key} = …", unsure)]
    return [(where, ""), (f"{key} = {{ {', '.join(each)} }}", unsure)]


def _quoted(name: str) -> str:
    return f'"{name}"'
