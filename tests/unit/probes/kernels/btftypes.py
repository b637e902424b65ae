"""Type information (BTF) as data: read whole, written again.

Format: Documentation/bpf/btf.rst and uapi/linux/btf.h of the kernel. nvscope reads BTF through
libbpf; this is for making fixtures of it alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAGIC, VERSION, HEADER_BYTES = 0xEB9F, 1, 24
HEADER = struct.Struct("<HBBIIIII")  # struct btf_header
TYPE = struct.Struct("<III")  # struct btf_type: name_off, info, size or type

VOID, INT, PTR, ARRAY, STRUCT, UNION, ENUM = 0, 1, 2, 3, 4, 5, 6
TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = 8, 9, 10, 11, 12, 13
VAR, DATASEC, DECL_TAG, TYPE_TAG, ENUM64 = 14, 15, 17, 18, 19
ALIASES = frozenset({TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG})
# What follows a type, as words of 4 bytes: once for all, or for each of vlen.
_ONCE = {INT: 1, ARRAY: 3, VAR: 1, DECL_TAG: 1}
_EACH = {STRUCT: 3, UNION: 3, ENUM: 2, FUNC_PROTO: 2, DATASEC: 3, ENUM64: 3}
_NAMED = frozenset({STRUCT, UNION, ENUM, FUNC_PROTO, ENUM64})  # the first word is a name


@dataclass(frozen=True)
class Item:
    """What a type has several of: members, parameters, names of an enum. words: as in BTF."""

    name: str
    words: tuple[int, ...]


@dataclass(frozen=True)
class Type:
    """A type. flag: kind_flag; size: or the number of another type; items: also of an INT or an
    ARRAY, which have one without a name; linkage: of a FUNC.
    """

    kind: int
    name: str = ""
    size: int = 0
    items: tuple[Item, ...] = ()
    flag: bool = False
    linkage: int = 0


def parse(data: bytes) -> list[Type]:
    """All types by their numbers; number 0 is void. Raises ValueError for what is no BTF."""
    magic, version, _, header_bytes, type_at, type_bytes, string_at, string_bytes = (
        HEADER.unpack_from(data)
    )
    if (magic, version, header_bytes) != (MAGIC, VERSION, HEADER_BYTES):
        raise ValueError("no BTF")
    strings = data[header_bytes + string_at :][:string_bytes]
    if len(strings) != string_bytes or strings[:1] + strings[-1:] != b"\0\0":
        raise ValueError("no strings")
    types, at, end = [Type(VOID)], header_bytes + type_at, header_bytes + type_at + type_bytes
    while at < end:
        found, at = _type(data, at, strings)
        types.append(found)
    return types


def _type(data: bytes, at: int, strings: bytes) -> tuple[Type, int]:
    name_at, info, size = TYPE.unpack_from(data, at)
    at += TYPE.size
    kind, count = info >> 24 & 0x7F, info & 0xFFFFFF
    if not 0 < kind <= ENUM64:
        raise ValueError(f"kind {kind}")
    times, words = (1, _ONCE[kind]) if kind in _ONCE else (count, _EACH.get(kind, 0))
    items = []
    for _ in range(times if words else 0):
        values = struct.unpack_from(f"<{words}I", data, at)
        at += 4 * words
        named = kind in _NAMED
        items.append(Item(_string(strings, values[0]) if named else "", values[int(named) :]))
    linkage = count if kind == FUNC else 0
    return Type(kind, _string(strings, name_at), size, tuple(items), info >> 31 == 1, linkage), at


def _string(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode()


def write(types: Sequence[Type]) -> bytes:
    """A BTF file of these types; the first is number 1."""
    strings = _Strings()
    body = bytearray()
    for each in types:
        count = each.linkage if each.kind == FUNC else len(each.items)
        info = each.flag << 31 | each.kind << 24 | (0 if each.kind in _ONCE else count)
        body += TYPE.pack(strings.add(each.name), info, each.size)
        for item in each.items:
            named = (strings.add(item.name),) if each.kind in _NAMED else ()
            words = (*named, *item.words)
            body += struct.pack(f"<{len(words)}I", *words)
    sizes = (0, len(body), len(body), len(strings.data))
    return HEADER.pack(MAGIC, VERSION, 0, HEADER_BYTES, *sizes) + body + strings.data


class _Strings:
    """The strings of a BTF, each once."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self._places = {"": 0}

    def add(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._places[text]


def resolve(types: Sequence[Type], number: int) -> int:
    """The type behind typedefs and qualifiers."""
    while types[number].kind in ALIASES:
        number = types[number].size
    return number


def first(types: Iterable[Type], kinds: Iterable[int]) -> dict[tuple[int, str], int]:
    """(kind, name) -> the number of the first such type: the one that libbpf finds."""
    wanted, found = set(kinds), dict[tuple[int, str], int]()
    for number, each in enumerate(types):
        if each.kind in wanted and each.name:
            found.setdefault((each.kind, each.name), number)
    return found
