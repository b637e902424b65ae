"""What a points file may say of each probe point. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nvscope.probes.points.catalog.points import PROBE_POINTS


@dataclass(frozen=True)
class Key:
    """A value that a point's program needs.

    name: its C name; struct: it has to point to one ("": it is a number); units: it may be in
    pages, or as an order; cases: word -> C name of what it can mean.
    """

    name: str
    struct: str = ""
    units: tuple[str, ...] = ()
    cases: Mapping[str, str] = field(default_factory=dict)


def _pointer(name: str, struct: str) -> dict[str, Key]:
    return {name: Key(name.upper(), struct)}


_IPA, _SIZE = ("byte", "page"), ("byte", "page", "order")
_MMU = _pointer("mmu", "kvm_s2_mmu")
_KVM = _pointer("kvm", "kvm")
OUTCOMES = {
    word: f"NV_OUTCOME_{word.upper()}"
    for word in ("stored", "unchanged", "overlapped", "failed", "skipped")
}
REASONS = {word: f"NV_REASON_{word.upper()}" for word in ("broken", "unknown_ipa", "raced")}

# Key -> what it stands for in place of `size`, and which base its end is of by default.
ENDS = ("end", "last")
# The same for END_OF_CANONICAL, END_OF_NESTED (bpf/revmap_record.c).
BASES = {"canonical_ipa": 1, "nested_ipa": 2}

_SAID: Mapping[str, Mapping[str, Key]] = {
    "notifier_unmap": _KVM | _pointer("range", "kvm_gfn_range"),
    "s2_fault": _pointer("vcpu", "kvm_vcpu")
    | _MMU
    | _pointer("nested", "kvm_s2_trans")
    | {"fault_ipa": Key("FAULT_IPA", units=_IPA)},
    "s2_walk": _pointer("trans", "kvm_s2_trans"),
    "shadow_unmap": _MMU | {"start": Key("START", units=_IPA), "size": Key("SIZE", units=_SIZE)},
    "mmu_free": _MMU,
    "vm_exit": _KVM,
    "revmap_record": _MMU
    | {
        "nested_ipa": Key("NESTED", units=_IPA),
        "canonical_ipa": Key("CANONICAL", units=_IPA),
        "size": Key("SIZE", units=_SIZE),
        "end": Key("SIZE", units=_IPA),
        "last": Key("SIZE", units=_IPA),
        "outcome": Key("OUTCOME", cases=OUTCOMES),
    },
    "revmap_broken": _MMU,
    "revmap_fallback": _MMU | {"reason": Key("REASON", cases=REASONS)},
    "mmu_init": _KVM | _MMU,
    "shadow_map": _pointer("pgt", "kvm_pgtable")
    | {"addr": Key("ADDR", units=_IPA), "size": Key("SIZE", units=_SIZE)},
}

# Point -> key -> what it is; of points that read nothing there is the function alone.
KEYS: Mapping[str, Mapping[str, Key]] = {
    point.name: _SAID.get(point.name, {}) for point in PROBE_POINTS
}
# Point -> key of a table: what the values of its outcome, or reason, mean.
CASES = {"revmap_record": ("outcomes", "outcome"), "revmap_fallback": ("reasons", "reason")}
# Keys that say something of the function, as true or false.
SWITCHES = {"revmap_fallback": {"only_in_notifier": "ONLY_WITHIN"}}
KINDS = ("maple", "tracking")
