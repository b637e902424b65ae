"""Reads Thrift's compact protocol, in which Parquet says what is in a file; builds nothing of it.

Source: Thrift's description of its compact protocol ("Struct encoding", "List and Set", "Map").
"""

from __future__ import annotations

from collections.abc import Iterator

# Types of fields and of a list's elements.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
INTEGERS = (I16, I32, I64)

_SIZES = {BYTE: 1, DOUBLE: 8, UUID: 16}
_MAX_DEPTH = 24  # Parquet's own structures have less than ten levels


class ThriftError(ValueError):
    """It is no such thing, or it is cut off."""


class Cursor:
    """A place in some bytes. Each method goes on by what it reads. Raises ThriftError."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.at = at
        self._data = data

    def fields(self) -> Iterator[tuple[int, int]]:
        """Of a struct: each field's number and type. Its value must be read before the next."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            yield number, head & 15

    def list_of(self) -> tuple[int, int]:
        """A list's head: the type of its elements, and how many there are."""
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > len(self._data) - self.at:  # none has less than a byte
            raise ThriftError("a list is longer than all of it")
        return head & 15, count

    def integer(self) -> int:
        """Of 16 to 64 bits: zigzag."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Go on behind a field's value. depth: how many levels it is within others."""
        if depth > _MAX_DEPTH:
            raise ThriftError("it is nested too deep")
        if kind in INTEGERS:
            self._varint()
        elif kind == STRUCT:
            self._skip_struct(depth)
        elif kind == BINARY:
            self._go(self._varint())
        elif kind in (LIST, SET):
            self._skip_list(depth)
        elif kind in _SIZES:
            self._go(_SIZES[kind])
        elif kind not in (TRUE, FALSE):  # there are no maps in Parquet
            raise ThriftError(f"it has a value of the unknown type {kind}")

    def _skip_struct(self, depth: int) -> None:
        """As by fields(), in a quarter of the time: a footer may have millions of them."""
        data, at = self._data, self.at
        try:
            while head := data[at]:
                at += 1
                kind = head & 15
                numbers = (head < 16) + (kind in INTEGERS)  # the field's own, and its value
                for _ in range(numbers):
                    while data[at] >= 0x80:
                        at += 1
                    at += 1
                if kind > FALSE and kind not in INTEGERS:
                    self.at = at
                    self.skip(kind, depth + 1)
                    at = self.at
        except IndexError:
            raise ThriftError("it is cut off") from None
        self.at = at + 1

    def _skip_list(self, depth: int) -> None:
        kind, count = self.list_of()
        if kind in (TRUE, FALSE):
            self._go(count)  # a byte each, other than in a struct
            return
        skip = self.skip
        for _ in range(count):
            skip(kind, depth + 1)

    def _varint(self) -> int:
        value = self._byte()
        if value < 0x80:
            return value
        value &= 0x7F
        for shift in range(7, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ThriftError("a number is too long")

    def _byte(self) -> int:
        try:
            byte = self._data[self.at]
        except IndexError:
            raise ThriftError("it is cut off") from None
        self.at += 1
        return byte

    def _go(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise ThriftError("it is cut off")
