"""From an expression like `vcpu->arch.hw_mmu` to what a BPF program needs to read it.

A points file has such expressions (probes/points/); the catalog needs names only.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from nvscope.probes.kernel.btf import Btf, Number

# Mirrors of NV_HOW_*, bpf/nvscope.h: what stands beside the slot, and the width of an offset.
NUMBER, SIGNED, ADDRESS, CONSTANT, NEXT = (1 << bit for bit in (8, 9, 10, 11, 12))
WIDTH_SHIFT, UNIT_SHIFT = 13, 15
UNITS = ("byte", "page", "order")
HOP_BITS = 20
MOST_HOPS = 3

RETURN = "return"
RESULT_SLOT = -2  # the function's result: where that is, depends on the mechanism
_NAME = r"[A-Za-z_]\w*"
_EXPRESSION = re.compile(
    rf"(?P<mark>[&*]?)(?P<name>{_NAME})(?P<steps>(?:(?:->|\.){_NAME})*)", re.ASCII
)
_STEP = re.compile(rf"(->|\.)({_NAME})", re.ASCII)


class UnreachedError(Exception):
    """This kernel's types have no such value; the message says what they have."""


@dataclass(frozen=True)
class Expression:
    """A parameter, the members to go through (operator, name), and what comes of it: "" the value,
    "&" where it lies, "*" what it points to.
    """

    text: str
    parameter: str
    steps: tuple[tuple[str, str], ...] = ()
    mark: str = ""


@dataclass(frozen=True)
class Given:
    """A value as a points file gives it.

    value: an expression, a number that it always is, or RETURN; where: the file, the place in it
    and the key, for messages; struct: it has to point to one ("": it is a number); unit: of UNITS;
    last: it is the last one of a range, whose end comes one later.
    """

    value: Expression | int | str
    where: str
    struct: str = ""
    unit: str = "byte"
    last: bool = False
    cased: bool = False


@dataclass(frozen=True)
class Place:
    """Where a value is. slot: of an argument, or RESULT_SLOT; how: NUMBER and so on;
    at: -1 for the argument itself, else the offsets of members, packed; of a constant, its value.
    """

    slot: int
    how: int
    at: int


def parsed(text: str) -> Expression:
    """Read an expression; raise ValueError.

    >>> parsed("vcpu->arch.hw_mmu").steps
    (('->', 'arch'), ('.', 'hw_mmu'))
    """
    match = _EXPRESSION.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(text)
    steps = tuple((op, name) for op, name in _STEP.findall(match["steps"]))
    return Expression(text, match["name"], steps, match["mark"])


def place(function: str, given: Given, btf: Btf) -> Place:
    """Where a function of this kernel has a value. Raises UnreachedError, with `where` in it."""
    how = UNITS.index(given.unit) << UNIT_SHIFT | (NEXT if given.last else 0)
    if isinstance(given.value, int):
        return Place(0, CONSTANT, _constant(given.value, given.unit))
    try:
        if isinstance(given.value, str):
            return Place(RESULT_SLOT, how | _number(btf, btf.returns(function), "the result"), -1)
        walk = _Walk(function, given.value, btf)
        return Place(walk.slot, how | walk.kind(given.struct), _packed(walk.hops, given.value))
    except UnreachedError as error:
        raise UnreachedError(f"{given.where}: {error}") from None


def _constant(value: int, unit: str) -> int:
    page_bytes = os.sysconf("SC_PAGESIZE")
    if unit == "order":
        return page_bytes << (value & 31)
    return value * page_bytes if unit == "page" else value


def named(name: str, function: str, of: Given | None, btf: Btf) -> int:
    """The value of an enumerator: "NAME" of the enum that `of` is, or "ENUM.NAME".

    Raises UnreachedError.
    """
    enum, _, plain = name.rpartition(".")
    if not enum and of is not None and not isinstance(of.value, int):
        type_id = (
            btf.returns(function)
            if isinstance(of.value, str)
            else _Walk(function, of.value, btf).type_id
        )
        enum = btf.enum_name(type_id)
        if not enum:
            there = btf.text(type_id).strip()
            raise UnreachedError(f"{name} is no name of a {there}: write a number, or ENUM.{name}")
    value = btf.enumerator(enum, plain)
    if value is None:
        raise UnreachedError(f"this kernel has no {plain} in enum {enum}")
    return value


class _Walk:
    """Through the members of an expression. hops: the offsets at which something is loaded."""

    def __init__(self, function: str, expression: Expression, btf: Btf) -> None:
        self._function, self._btf, self._text = function, btf, expression.text
        self._mark = expression.mark
        self.hops: list[int] = []
        self._offset: int | None = None  # in memory, of what has not been loaded; None: a parameter
        self._bits = 0
        self.slot, self.type_id = self._parameter(expression.parameter)
        for operator, name in expression.steps:
            self._step(operator, name)
        if self._mark == "*":
            self._follow(f"{self._text}:")
        if self._offset is not None:
            self.hops.append(self._offset)

    def kind(self, struct: str) -> int:
        """NUMBER and so on of the end, which has to be a number, or point to such a struct."""
        if self._bits:
            raise UnreachedError(f"{self._text} is a bit-field, which has no address")
        if self._mark == "&":
            if not self.hops:
                raise UnreachedError(f"{self._text}: a parameter has no address")
            if struct and self._btf.struct_name(self.type_id) == struct:
                return ADDRESS
            raise UnreachedError(self._wrong(f"{self._btf.text(self.type_id)}*", struct))
        if not struct:
            return _number(self._btf, self.type_id, self._text)
        if self._btf.points_to(self.type_id, struct):
            return 0
        raise UnreachedError(self._wrong(self._btf.text(self.type_id), struct))

    def _parameter(self, name: str) -> tuple[int, int]:
        for parameter in self._btf.parameters(self._function):
            if parameter.name == name:
                return parameter.slot, parameter.type_id
        raise UnreachedError(
            f"{self._function}() has no parameter {name};"
            f" it has ({self._btf.signature(self._function)})"
        )

    def _step(self, operator: str, name: str) -> None:
        if operator == "->":
            self._follow(f"{self._text}: before ->{name}")
        elif self._offset is None or self._btf.target(self.type_id) is not None:
            raise UnreachedError(f"{self._text}: before .{name} there is a pointer: write ->{name}")
        part = self._btf.part(self.type_id, name)
        if part is None:
            what = self._btf.text(self.type_id).strip()
            raise UnreachedError(f"{self._text}: {what} has no member {name}")
        assert self._offset is not None
        self._offset += part.offset
        self.type_id, self._bits = part.type_id, part.bits

    def _follow(self, where: str) -> None:
        target = self._btf.target(self.type_id)
        if target is None:
            there = self._btf.text(self.type_id).strip()
            raise UnreachedError(f"{where} there is a {there}, no pointer")
        if self._offset is not None:
            self.hops.append(self._offset)
        self._offset, self.type_id = 0, target

    def _wrong(self, there: str, struct: str) -> str:
        wanted = f"struct {struct} *" if struct else "a number"
        return f"{self._text} is a {there.strip()}, and has to be {wanted}"


def _number(btf: Btf, type_id: int, what: str) -> int:
    found: Number | None = btf.number(type_id)
    if found is None or found.size_bytes not in (1, 2, 4, 8):
        there = btf.text(type_id).strip()
        raise UnreachedError(f"{what} is a {there}, and has to be a number")
    width = found.size_bytes.bit_length() - 1
    return NUMBER | width << WIDTH_SHIFT | (SIGNED if found.signed else 0)


def _packed(hops: list[int], expression: Expression) -> int:
    """All but the first are one more, for 0 says that there is none."""
    if not hops:
        return -1
    if len(hops) > MOST_HOPS or max(hops) + 1 >= 1 << HOP_BITS:
        raise UnreachedError(
            f"{expression.text} is beyond what a program reads: {MOST_HOPS} pointers"
            f" and offsets of {1 << HOP_BITS:,} bytes"
        )
    return hops[0] | sum((hop + 1) << HOP_BITS * i for i, hop in enumerate(hops[1:], 1))
