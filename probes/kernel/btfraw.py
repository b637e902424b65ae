"""BTF as it lies in memory: types by number, for btf.py, which asks by name.

Format: Documentation/bpf/btf.rst and uapi/linux/btf.h of the kernel.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

from nvscope.probes.errors import LackError
from nvscope.probes.kernel.libbpf import library

# uapi/linux/btf.h: BTF_KIND_*
INT, PTR, STRUCT, UNION, ENUM, TYPEDEF = 1, 2, 4, 5, 6, 8
VOLATILE, CONST, RESTRICT, FUNC, PROTO, TYPE_TAG, ENUM64 = 9, 10, 11, 12, 13, 18, 19
ALIASES = frozenset({TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG})
SIZED = frozenset({INT, STRUCT, UNION, ENUM, ENUM64})
SLOT_BYTES = 8  # of a function's arguments, as BPF programs see them
INT_SIGNED = 1 << 24  # of the word behind a BTF_KIND_INT
# How C writes a type before its name.
WORDS = {STRUCT: "struct ", UNION: "union ", ENUM: "enum ", ENUM64: "enum ", CONST: "const "}


class RawType(ctypes.Structure):
    """struct btf_type. info: vlen in bits 0-23, kind in 24-30, kind_flag in 31."""

    _fields_ = (
        ("name_off", ctypes.c_uint32),
        ("info", ctypes.c_uint32),
        ("size_or_type", ctypes.c_uint32),
    )


class RawMember(ctypes.Structure):
    """struct btf_member. offset: in bits; with kind_flag the low 24 bits of it."""

    _fields_ = (
        ("name_off", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
    )


class RawEnumerator(ctypes.Structure):
    """struct btf_enum."""

    _fields_ = (("name_off", ctypes.c_uint32), ("value", ctypes.c_int32))


class RawParam(ctypes.Structure):
    """struct btf_param."""

    _fields_ = (("name_off", ctypes.c_uint32), ("type", ctypes.c_uint32))


class Raw:
    """Type information of one file: raw BTF, or an ELF file with a .BTF section."""

    def __init__(self, path: Path) -> None:
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

    def _find(self, name: str, kind: int) -> int:
        """A type's number, or less than 1. libbpf looks at each type in turn: not twice for one."""
        key = name, kind
        if key not in self._found:
            found = self._lib.btf__find_by_name_kind(self._handle, name.encode(), kind)
            self._found[key] = int(found)
        return self._found[key]

    def _type(self, type_id: int) -> tuple[int, int, RawType]:
        address = self._lib.btf__type_by_id(self._handle, type_id)
        if not address:
            raise KeyError(f"type {type_id}")
        return address, kind_of(RawType.from_address(address)), RawType.from_address(address)

    def _name(self, offset: int) -> str:
        name: bytes | None = self._lib.btf__name_by_offset(self._handle, offset)
        return (name or b"").decode()

    def _resolve(self, type_id: int) -> tuple[int, int, RawType]:
        """(kind, id, type) behind typedefs and qualifiers; kind 0 is void."""
        while True:
            if type_id == 0:
                return 0, 0, RawType()
            _, kind, found = self._type(type_id)
            if kind not in ALIASES:
                return kind, type_id, found
            type_id = found.size_or_type

    def _member(self, type_id: int, name: str) -> tuple[int, int] | None:
        """(type id, offset in bytes) of a named member; anonymous members are looked through."""
        kind, type_id, found = self._resolve(type_id)
        if kind not in (STRUCT, UNION):
            return None
        for member_name, member_type, offset in self._members(type_id, found):
            if member_name == name:
                return member_type, offset
            inner = self._member(member_type, name) if not member_name else None
            if inner is not None:
                return inner[0], offset + inner[1]
        return None

    def _members(self, type_id: int, found: RawType) -> Iterator[tuple[str, int, int]]:
        first = self._type(type_id)[0] + ctypes.sizeof(RawType)
        bits = 0xFFFFFF if found.info >> 31 else 0xFFFFFFFF
        for member in (RawMember * length(found)).from_address(first):
            yield self._name(member.name_off), member.type, (member.offset & bits) // 8

    def _bits(self, type_id: int, name: str) -> int:
        """How many bits a bit-field has, 0 of another member; anonymous ones are looked through."""
        kind, found_id, found = self._resolve(type_id)
        if kind not in (STRUCT, UNION):
            return 0
        first = self._type(found_id)[0] + ctypes.sizeof(RawType)
        for member in (RawMember * length(found)).from_address(first):
            if self._name(member.name_off) == name:
                return int(member.offset >> 24) if found.info >> 31 else 0
            if not member.name_off and self._member(member.type, name):
                return self._bits(member.type, name)
        return 0

    def _size(self, type_id: int) -> int:
        kind, _, found = self._resolve(type_id)
        return int(found.size_or_type) if kind in SIZED else SLOT_BYTES


def kind_of(found: RawType) -> int:
    """BTF_KIND_* of a type."""
    return int(found.info >> 24) & 0x7F


def length(found: RawType) -> int:
    """How many members, enumerators or parameters stand behind a type."""
    return int(found.info) & 0xFFFFFF
