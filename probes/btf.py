"""The kernel's own type information (BTF), read through libbpf: by name, never by version.

Format: Documentation/bpf/btf.rst and uapi/linux/btf.h of the kernel.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nvscope.probes.errors import LackError
from nvscope.probes.libbpf import library

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")

# uapi/linux/btf.h: BTF_KIND_*
_INT, _PTR, _STRUCT, _UNION, _ENUM, _TYPEDEF = 1, 2, 4, 5, 6, 8
_VOLATILE, _CONST, _RESTRICT, _FUNC, _PROTO, _TYPE_TAG, _ENUM64 = 9, 10, 11, 12, 13, 18, 19
_ALIASES = frozenset({_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG})
_SIZED = frozenset({_INT, _STRUCT, _UNION, _ENUM, _ENUM64})
_SLOT_BYTES = 8  # of a function's arguments, as BPF programs see them
_INT_SIGNED = 1 << 24  # of the word behind a BTF_KIND_INT
# How C writes a type before its name.
_WORDS = {_STRUCT: "struct ", _UNION: "union ", _ENUM: "enum ", _ENUM64: "enum ", _CONST: "const "}


class _Type(ctypes.Structure):
    """struct btf_type. info: vlen in bits 0-23, kind in 24-30, kind_flag in 31."""

    _fields_ = (
        ("name_off", ctypes.c_uint32),
        ("info", ctypes.c_uint32),
        ("size_or_type", ctypes.c_uint32),
    )


class _Member(ctypes.Structure):
    """struct btf_member. offset: in bits; with kind_flag the low 24 bits of it."""

    _fields_ = (
        ("name_off", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
    )


class _Enumerator(ctypes.Structure):
    """struct btf_enum."""

    _fields_ = (("name_off", ctypes.c_uint32), ("value", ctypes.c_int32))


class _Param(ctypes.Structure):
    """struct btf_param."""

    _fields_ = (("name_off", ctypes.c_uint32), ("type", ctypes.c_uint32))


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


class Btf:
    """Type information of one file: raw BTF, or an ELF file with a .BTF section."""

    def __init__(self, path: Path = KERNEL_BTF) -> None:
        self._lib = library()
        if not path.is_file():
            raise LackError(
                f"no type information at {path}: the kernel needs CONFIG_DEBUG_INFO_BTF"
            )
        # libbpf would write of a bad file to stderr.
        speak = self._lib.libbpf_set_print(None)
        handle = self._lib.btf__parse(str(path).encode(), None)
        self._lib.libbpf_set_print(ctypes.c_void_p(speak))
        if not handle:
            raise LackError(f"{path} has no type information (BTF) that libbpf can read")
        self._handle = ctypes.c_void_p(handle)
        self._found: dict[tuple[str, int], int] = {}

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._lib.btf__free(self._handle)

    def has_function(self, name: str) -> bool:
        """Whether the kernel has a function of this name that BTF describes."""
        return self._find(name, _FUNC) > 0

    def has_struct(self, name: str) -> bool:
        """Whether a struct of this name is defined."""
        return self._find(name, _STRUCT) > 0

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
        type_id = self._find(struct, _STRUCT)
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
        type_id = self._find(struct, _STRUCT)
        for name in path.split("."):
            found = self._member(type_id, name) if type_id > 0 else None
            type_id = found[0] if found else 0
        return type_id > 0 and self.points_to(type_id, target)

    def enumerator(self, enum: str, name: str) -> int | None:
        """The value of a name of an enum, or None where there is no such enum or name."""
        type_id = self._find(enum, _ENUM)
        if type_id <= 0:
            return None
        address, _, found = self._type(type_id)
        first = address + ctypes.sizeof(_Type)
        for each in (_Enumerator * _length(found)).from_address(first):
            if self._name(each.name_off) == name:
                return int(each.value)
        return None

    def members(self, struct: str) -> list[tuple[str, int]]:
        """The same as parts() of a struct by its name; none where there is no such struct."""
        type_id = self._find(struct, _STRUCT)
        return self.parts(type_id) if type_id > 0 else []

    def points_to(self, pointer_type: int, struct: str) -> bool:
        """Whether a type is a pointer to this struct."""
        kind, _, pointer = self._resolve(pointer_type)
        if kind != _PTR:
            return False
        kind, _, found = self._resolve(pointer.size_or_type)
        return kind == _STRUCT and self._name(found.name_off) == struct

    def member_behind(self, pointer_type: int, name: str) -> int | None:
        """Offset in bytes of a member of the struct that a pointer type points to, or None."""
        kind, type_id, pointer = self._resolve(pointer_type)
        if kind != _PTR:
            return None
        kind, type_id, _ = self._resolve(pointer.size_or_type)
        found = self._member(type_id, name) if kind in (_STRUCT, _UNION) else None
        return None if found is None else found[1]

    # ---- types by number

    def returns(self, function: str) -> int:
        """The type of a function's result, 0 for void. Raises KeyError."""
        type_id = self._find(function, _FUNC)
        if type_id <= 0:
            raise KeyError(f"function {function}")
        return int(self._type(self._type(type_id)[2].size_or_type)[2].size_or_type)

    def target(self, type_id: int) -> int | None:
        """What a type points to, 0 for void; None where it is no pointer."""
        kind, _, found = self._resolve(type_id)
        return int(found.size_or_type) if kind == _PTR else None

    def part(self, type_id: int, name: str) -> Part | None:
        """A named member of a struct or union, by that one's type; None where there is none."""
        found = self._member(type_id, name)
        return None if found is None else Part(found[0], found[1], self._bits(type_id, name))

    def number(self, type_id: int) -> Number | None:
        """How the type's values lie in memory; None of what is no integer, bool or enum."""
        kind, found_id, found = self._resolve(type_id)
        if kind == _INT:
            word = ctypes.c_uint32.from_address(self._type(found_id)[0] + ctypes.sizeof(_Type))
            return Number(int(found.size_or_type), bool(word.value & _INT_SIGNED))
        if kind in (_ENUM, _ENUM64):  # kernels' enums are as wide as int, mostly
            return Number(int(found.size_or_type), signed=True)
        return None

    def struct_name(self, type_id: int) -> str:
        """Of a struct or union; "" of what is none."""
        kind, _, found = self._resolve(type_id)
        return self._name(found.name_off) if kind in (_STRUCT, _UNION) else ""

    def enum_name(self, type_id: int) -> str:
        """Of an enum; "" of what is none."""
        kind, _, found = self._resolve(type_id)
        return self._name(found.name_off) if kind == _ENUM else ""

    def parts(self, type_id: int) -> list[tuple[str, int]]:
        """(name, type) of a struct's named members, in order; none of what is no struct."""
        kind, found_id, found = self._resolve(type_id)
        if kind not in (_STRUCT, _UNION):
            return []
        return [(name, of) for name, of, _ in self._members(found_id, found) if name]

    def enumerators(self, type_id: int) -> list[str]:
        """The names of an enum; none of what is no enum."""
        kind, found_id, found = self._resolve(type_id)
        if kind != _ENUM:
            return []
        first = self._type(found_id)[0] + ctypes.sizeof(_Type)
        return [self._name(e.name_off) for e in (_Enumerator * _length(found)).from_address(first)]

    def text(self, type_id: int) -> str:
        """The type as C has it before a name: "struct kvm_s2_mmu *", "gpa_t ", "void"."""
        if type_id == 0:
            return "void "
        _, kind, found = self._type(type_id)
        if kind == _PTR:
            return f"{self.text(found.size_or_type)}*"
        if kind in (_CONST, _VOLATILE, _RESTRICT, _TYPE_TAG):
            return f"{_WORDS.get(kind, '')}{self.text(found.size_or_type)}"
        return f"{_WORDS.get(kind, '')}{self._name(found.name_off) or '…'} "

    def signature(self, function: str) -> str:
        """A function's parameters as C has them, or "no parameters". Raises KeyError."""
        each = [f"{self.text(p.type_id)}{p.name}" for p in self.parameters(function)]
        return ", ".join(each) or "no parameters"

    def _bits(self, type_id: int, name: str) -> int:
        """How many bits a bit-field has, 0 of another member."""
        kind, found_id, found = self._resolve(type_id)
        if kind not in (_STRUCT, _UNION) or not found.info >> 31:
            return 0
        first = self._type(found_id)[0] + ctypes.sizeof(_Type)
        for member in (_Member * _length(found)).from_address(first):
            if self._name(member.name_off) == name:
                return int(member.offset >> 24)
        return 0

    def _find(self, name: str, kind: int) -> int:
        """A type's number, or less than 1. libbpf looks at each type in turn: not twice for one."""
        key = name, kind
        if key not in self._found:
            found = self._lib.btf__find_by_name_kind(self._handle, name.encode(), kind)
            self._found[key] = int(found)
        return self._found[key]

    def _type(self, type_id: int) -> tuple[int, int, _Type]:
        address = self._lib.btf__type_by_id(self._handle, type_id)
        if not address:
            raise KeyError(f"type {type_id}")
        return address, _kind(_Type.from_address(address)), _Type.from_address(address)

    def _name(self, offset: int) -> str:
        name: bytes | None = self._lib.btf__name_by_offset(self._handle, offset)
        return (name or b"").decode()

    def _resolve(self, type_id: int) -> tuple[int, int, _Type]:
        """(kind, id, type) behind typedefs and qualifiers; kind 0 is void."""
        while True:
            if type_id == 0:
                return 0, 0, _Type()
            _, kind, found = self._type(type_id)
            if kind not in _ALIASES:
                return kind, type_id, found
            type_id = found.size_or_type

    def _member(self, type_id: int, name: str) -> tuple[int, int] | None:
        """(type id, offset in bytes) of a named member; anonymous members are looked through."""
        kind, type_id, found = self._resolve(type_id)
        if kind not in (_STRUCT, _UNION):
            return None
        for member_name, member_type, offset in self._members(type_id, found):
            if member_name == name:
                return member_type, offset
            inner = self._member(member_type, name) if not member_name else None
            if inner is not None:
                return inner[0], offset + inner[1]
        return None

    def _members(self, type_id: int, found: _Type) -> Iterator[tuple[str, int, int]]:
        first = self._type(type_id)[0] + ctypes.sizeof(_Type)
        bits = 0xFFFFFF if found.info >> 31 else 0xFFFFFFFF
        for member in (_Member * _length(found)).from_address(first):
            yield self._name(member.name_off), member.type, (member.offset & bits) // 8

    @functools.lru_cache(maxsize=64)  # noqa: B019 (one Btf lives as long as the process cares)
    def _prototype(self, function: str) -> tuple[tuple[Parameter, ...], int]:
        type_id = self._find(function, _FUNC)
        if type_id <= 0:
            raise KeyError(f"function {function}")
        address, _, proto = self._type(self._type(type_id)[2].size_or_type)
        parameters, slot = [], 0
        for param in (_Param * _length(proto)).from_address(address + ctypes.sizeof(_Type)):
            parameters.append(Parameter(self._name(param.name_off), slot, param.type))
            slot += -(-self._size(param.type) // _SLOT_BYTES)
        return tuple(parameters), slot

    def _size(self, type_id: int) -> int:
        kind, _, found = self._resolve(type_id)
        return int(found.size_or_type) if kind in _SIZED else _SLOT_BYTES


def _kind(found: _Type) -> int:
    return int(found.info >> 24) & 0x7F


def _length(found: _Type) -> int:
    return int(found.info) & 0xFFFFFF
