"""All that nvscope's catalog may ask a kernel's types, and what they answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from nvscope.probes.commands.probe.kinds import KINDS
from nvscope.probes.kernel import features
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points import programs
from nvscope.probes.points.catalog.hooks import Enumerator, Hook, Member
from nvscope.probes.points.catalog.points import PROBE_POINTS
from nvscope.probes.points.modes import COUNTS, MECHANISMS, Mode, Probing

# Of features.revmap(), beside what the catalog names.
STRUCTS = ("kvm_guest_s2_mapping",)
MODES = (
    COUNTS,
    Mode(trace=True),
    *(Mode(probing=Probing(name, triggers=True, threshold_ns=1)) for name in KINDS),
)


def parts(of: object) -> Iterator[object]:
    """The hooks, members and enumerators in a part of the catalog, whatever fields it has."""
    if isinstance(of, (Hook, Member, Enumerator)):
        yield of
    if dataclasses.is_dataclass(of):
        for each in dataclasses.fields(of):
            yield from parts(getattr(of, each.name))
    elif isinstance(of, Mapping):
        yield from parts(tuple(of.values()))
    elif isinstance(of, tuple):
        for each in of:
            yield from parts(each)


def hooks() -> list[Hook]:
    """All of the catalog."""
    return [each for each in parts(PROBE_POINTS) if isinstance(each, Hook)]


def members() -> list[Member]:
    """All of the catalog."""
    return [each for each in parts(PROBE_POINTS) if isinstance(each, Member)]


def enumerators() -> list[Enumerator]:
    """All of the catalog."""
    return [each for each in parts(PROBE_POINTS) if isinstance(each, Enumerator)]


def functions() -> list[str]:
    """The functions that are hooked, each once."""
    return list(dict.fromkeys(hook.symbol for hook in hooks()))


def values() -> list[str]:
    """What is looked up among a function's parameters: names, and "struct NAME"."""
    found = dict[str, None]()
    for hook in hooks():
        for each in dataclasses.fields(hook):
            field = getattr(hook, each.name)
            if isinstance(field, Mapping):
                found |= dict.fromkeys(value for value in field.values() if isinstance(value, str))
    return list(found)


def questions() -> list[str]:
    """All that is asked for, in words: what a fixture made before may not answer is new in it."""
    places = [f"{each.struct}.{each.path}" for each in members()]
    places += [f"{each.enum}.{each.name}" for each in enumerators()]
    return sorted({*functions(), *values(), *places, *(f"struct {name}" for name in STRUCTS)})


def answers(btf: Btf) -> dict[object, Any]:
    """Question -> answer. No answer tells a type's number, which is another in each file."""
    told: dict[object, Any] = {}
    for function in functions():
        told[function] = _signature(btf, function)
    for name in (*STRUCTS, *(member.struct for member in members())):
        told["struct", name] = btf.has_struct(name)
    for member in members():
        there = btf.has_member(member.struct, member.path)
        told[member] = btf.offset(member.struct, member.path) if there else None
    for each in enumerators():
        told[each] = btf.enumerator(each.enum, each.name)
    told["strange members"] = features.strange_members(btf)
    for mode in MODES:
        for point in PROBE_POINTS:
            told[mode, point.name] = programs.plan(point, MECHANISMS, None, btf, mode)
    return told


def _signature(btf: Btf, function: str) -> object:
    if not btf.has_function(function):
        return None
    return btf.slots(function), [
        (each.name, each.slot, _behind(btf, each.type_id)) for each in btf.parameters(function)
    ]


def _behind(btf: Btf, type_id: int) -> dict[str, object]:
    """What a parameter's type says to each value that may be looked up."""
    return {
        name: btf.points_to(type_id, name.removeprefix("struct "))
        if name.startswith("struct ")
        else btf.member_behind(type_id, name)
        for name in values()
    }
