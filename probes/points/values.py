"""Where a hook's values are in this kernel: by the catalog's names, or as a points file says."""

from __future__ import annotations

from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points.catalog.hooks import Case, Hook
from nvscope.probes.points.reach import Given, Place, UnreachedError, named, place

# Stands for a member or an enumerator that this kernel does not have.
ABSENT = -1


class UnresolvedError(Exception):
    """A hook that this kernel cannot serve; the message says what was not found."""


def places(hook: Hook, function: str, btf: Btf) -> dict[str, Place]:
    """C name -> where the value is; ABSENT for one that this kernel lacks, or nobody gave."""
    absent = Place(ABSENT, 0, ABSENT)
    places = dict.fromkeys(hook.given, absent)
    places |= {name: _locate(hook, function, value, btf) for name, value in hook.values.items()}
    for name, wanted in hook.maybe.items():
        try:
            places[name] = _locate(hook, function, wanted, btf)
        except UnresolvedError:
            if isinstance(wanted, Given):
                raise
            places[name] = absent
    return places


def cases(hook: Hook, function: str, btf: Btf) -> str:
    """What the values of an outcome or a reason mean, for the C programs: NV_CASE(…) of each."""
    value = next((v for v in hook.values.values() if isinstance(v, Given) and v.cased), None)
    each = [(*_bounds(case, function, value, btf), case.word) for case in hook.cases]
    return " ".join(f"NV_CASE({first}LL,{last}LL,{word})" for first, last, word in each)


def _bounds(case: Case, function: str, value: Given | None, btf: Btf) -> tuple[int, int]:
    if isinstance(case.first, int) and isinstance(case.last, int):
        return case.first, case.last
    try:
        number = named(str(case.first), function, value, btf)
    except UnreachedError as error:
        raise UnresolvedError(f"{case.where}: {error}") from None
    return number, number


def _locate(hook: Hook, function: str, wanted: str | Given, btf: Btf) -> Place:
    """Where a value is, by its name or as a points file gives it."""
    if isinstance(wanted, Given):
        try:
            return place(function, wanted, btf)
        except UnreachedError as error:
            raise UnresolvedError(str(error)) from None
    try:
        slot, at = _by_name(function, wanted, btf)
    except UnresolvedError as error:
        if not hook.where:
            raise
        has = btf.signature(function)
        raise UnresolvedError(f"{hook.where}: {error}; it has ({has})") from None
    return Place(slot, 0, at)


def _by_name(function: str, name: str, btf: Btf) -> tuple[int, int]:
    """(argument slot, -1) of a parameter, or (slot, offset) of a member behind a parameter."""
    parameters = btf.parameters(function)
    wanted = name.removeprefix("struct ")
    for parameter in parameters:
        by_type = wanted != name and btf.points_to(parameter.type_id, wanted)
        if by_type or parameter.name == name:
            return parameter.slot, -1
    for parameter in parameters:
        at = btf.member_behind(parameter.type_id, name)
        if at is not None:
            return parameter.slot, at
    if wanted != name:
        raise UnresolvedError(f"{function}() has no parameter that points to a {name}")
    raise UnresolvedError(f"{function}() has no parameter {name}, nor a struct with one")
