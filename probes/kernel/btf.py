"""The kernel's own type information (BTF), read through libbpf: by name, never by version."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

from nvscope.probes.kernel.btfraw import (
    CONST,
    ENUM,
    ENUM64,
    FUNC,
    INT,
    INT_SIGNED,
    PTR,
    RESTRICT,
    SLOT_BYTES,
    STRUCT,
    TYPE_TAG,
    UNION,
    VOLATILE,
    WORDS,
    Raw,
    RawEnumerator,
    RawParam,
    RawType,
    length,
)

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")


@dataclass(frozen=True)
class Parameter:
    """A function's parameter; slot: its first 8-byte argument slot, from 0."""

    name: str
    slot: int
    type_id: int


@dataclass(frozen=True)
class Part:
    """A member of a struct. offset: bytes from its begin; bits: of a bit-field, else 0."""

    type_id: int
    offset: int
    bits: int = 0


@dataclass(frozen=True)
class Number:
    """How an integer, a bool or an enum lies in memory."""

    size_bytes: int
    signed: bool


class Btf(Raw):
    """Type information of one file: raw BTF, or an ELF file with a .BTF section."""

    def __init__(self, path: Path = KERNEL_BTF) -> None:
        super().__init__(path)

    def has_function(self, name: str) -> bool:
        """Whether the kernel has a function of this name that BTF describes."""
        return self._find(name, FUNC) > 0

    def has_struct(self, name: str) -> bool:
        """Whether a struct of this name is defined."""
        return self._find(name, STRUCT) > 0

    def parameters(self, function: str) -> tuple[Parameter, ...]:
        """A function's parameters, in order. Raises KeyError when BTF has no such function."""
        return self._prototype(function)[0]

    def slots(self, function: str) -> int:
        """How many 8-byte slots the parameters take: where fexit finds the return value."""
        return self._prototype(function)[1]

    def offset(self, struct: str, path: str) -> int:
        """Offset in bytes of `path` ("a.b.c", by value) in a struct, through anonymous members.

        Raises KeyError when the struct or a member is not there.
        """
        type_id = self._find(struct, STRUCT)
        if type_id <= 0:
            raise KeyError(f"struct {struct}")
        total = 0
        for name in path.split("."):
            found = self._member(type_id, name)
            if found is None:
                raise KeyError(f"member {name} of struct {struct} ({path})")
            type_id, offset = found
            total += offset
        return total

    def has_member(self, struct: str, path: str) -> bool:
        """Whether a struct has such a member."""
        try:
            self.offset(struct, path)
        except KeyError:
            return False
        return True

    def member_points_to(self, struct: str, path: str, target: str) -> bool:
        """Whether a member is a pointer to a struct of that name, hence to one or to an array."""
        type_id = self._find(struct, STRUCT)
        for name in path.split("."):
            found = self._member(type_id, name) if type_id > 0 else None
            type_id = found[0] if found else 0
        return type_id > 0 and self.points_to(type_id, target)

    def enumerator(self, enum: str, name: str) -> int | None:
        """The value of a name of an enum, or None where there is no such enum or name."""
        type_id = self._find(enum, ENUM)
        if type_id <= 0:
            return None
        address, _, found = self._type(type_id)
        first = address + ctypes.sizeof(RawType)
        for each in (RawEnumerator * length(found)).from_address(first):
            if self._name(each.name_off) == name:
                return int(each.value)
        return None

    def members(self, struct: str) -> list[tuple[str, int]]:
        """The same as parts() of a struct by its name; none where there is no such struct."""
        type_id = self._find(struct, STRUCT)
        return self.parts(type_id) if type_id > 0 else []

    def points_to(self, pointer_type: int, struct: str) -> bool:
        """Whether a type is a pointer to this struct."""
        kind, _, pointer = self._resolve(pointer_type)
        if kind != PTR:
            return False
        kind, _, found = self._resolve(pointer.size_or_type)
        return kind == STRUCT and self._name(found.name_off) == struct

    def member_behind(self, pointer_type: int, name: str) -> int | None:
        """Offset in bytes of a member of the struct that a pointer type points to, or None."""
        kind, type_id, pointer = self._resolve(pointer_type)
        if kind != PTR:
            return None
        kind, type_id, _ = self._resolve(pointer.size_or_type)
        found = self._member(type_id, name) if kind in (STRUCT, UNION) else None
        return None if found is None else found[1]

    # ---- types by number

    def returns(self, function: str) -> int:
        """The type of a function's result, 0 for void. Raises KeyError."""
        type_id = self._find(function, FUNC)
        if type_id <= 0:
            raise KeyError(f"function {function}")
        return int(self._type(self._type(type_id)[2].size_or_type)[2].size_or_type)

    def target(self, type_id: int) -> int | None:
        """What a type points to, 0 for void; None where it is no pointer."""
        kind, _, found = self._resolve(type_id)
        return int(found.size_or_type) if kind == PTR else None

    def part(self, type_id: int, name: str) -> Part | None:
        """A named member of a struct or union, by that one's type; None where there is none."""
        found = self._member(type_id, name)
        return None if found is None else Part(found[0], found[1], self._bits(type_id, name))

    def number(self, type_id: int) -> Number | None:
        """How the type's values lie in memory; None of what is no integer, bool or enum."""
        kind, found_id, found = self._resolve(type_id)
        if kind == INT:
            word = ctypes.c_uint32.from_address(self._type(found_id)[0] + ctypes.sizeof(RawType))
            return Number(int(found.size_or_type), bool(word.value & INT_SIGNED))
        if kind in (ENUM, ENUM64):  # kernels' enums are as wide as int, mostly
            return Number(int(found.size_or_type), signed=True)
        return None

    def struct_name(self, type_id: int) -> str:
        """Of a struct or union; "" of what is none."""
        kind, _, found = self._resolve(type_id)
        return self._name(found.name_off) if kind in (STRUCT, UNION) else ""

    def enum_name(self, type_id: int) -> str:
        """Of an enum; "" of what is none."""
        kind, _, found = self._resolve(type_id)
        return self._name(found.name_off) if kind == ENUM else ""

    def parts(self, type_id: int) -> list[tuple[str, int]]:
        """(name, type) of a struct's named members, in order; none of what is no struct."""
        kind, found_id, found = self._resolve(type_id)
        if kind not in (STRUCT, UNION):
            return []
        return [(name, of) for name, of, _ in self._members(found_id, found) if name]

    def enumerators(self, type_id: int) -> list[str]:
        """The names of an enum; none of what is no enum."""
        kind, found_id, found = self._resolve(type_id)
        if kind != ENUM:
            return []
        first = self._type(found_id)[0] + ctypes.sizeof(RawType)
        return [self._name(e.name_off) for e in (RawEnumerator * length(found)).from_address(first)]

    def text(self, type_id: int) -> str:
        """The type as C has it before a name: "struct kvm_s2_mmu *", "gpa_t ", "void"."""
        if type_id == 0:
            return "void "
        _, kind, found = self._type(type_id)
        if kind == PTR:
            return f"{self.text(found.size_or_type)}*"
        if kind in (CONST, VOLATILE, RESTRICT, TYPE_TAG):
            return f"{WORDS.get(kind, '')}{self.text(found.size_or_type)}"
        return f"{WORDS.get(kind, '')}{self._name(found.name_off) or '…'} "

    def signature(self, function: str) -> str:
        """A function's parameters as C has them, or "no parameters". Raises KeyError."""
        each = [f"{self.text(p.type_id)}{p.name}" for p in self.parameters(function)]
        return ", ".join(each) or "no parameters"

    @functools.lru_cache(maxsize=64)  # noqa: B019 (one Btf lives as long as the process cares)
    def _prototype(self, function: str) -> tuple[tuple[Parameter, ...], int]:
        type_id = self._find(function, FUNC)
        if type_id <= 0:
            raise KeyError(f"function {function}")
        address, _, proto = self._type(self._type(type_id)[2].size_or_type)
        parameters, slot = [], 0
        for param in (RawParam * length(proto)).from_address(address + ctypes.sizeof(RawType)):
            parameters.append(Parameter(self._name(param.name_off), slot, param.type))
            slot += -(-self._size(param.type) // SLOT_BYTES)
        return tuple(parameters), slot
