"""What an arm64 Image has in it: its type information, and the names of its symbols.

A boot would tell the same, but not of a kernel that the lab cannot boot. This relies on how
scripts/kallsyms.c of Linux 6.16 to 7.3 lays out its tables, and checks them against each other.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tests.unit.probes.kernels import btftypes

# Digits are tokens that stand for themselves, and follow each other in kallsyms_token_table.
_DIGITS = re.compile(b"".join(b"%d\0" % digit for digit in range(10)))
_TOKENS = 256  # of the table
_BLOCK = 256  # symbols between two markers
_LAST_BLOCK_BYTES = 1 << 15  # no block of names is so long


def type_information(image: bytes) -> bytes:
    """The kernel's BTF, as /sys/kernel/btf/vmlinux has it. Raises ValueError."""
    start = struct.pack("<HBBI", btftypes.MAGIC, btftypes.VERSION, 0, btftypes.HEADER_BYTES)
    for match in re.finditer(re.escape(start), image):
        *_, string_at, string_bytes = btftypes.HEADER.unpack_from(image, match.start())
        end = match.start() + btftypes.HEADER_BYTES + string_at + string_bytes
        try:
            btftypes.parse(image[match.start() : end])
        except (ValueError, struct.error):
            continue
        return image[match.start() : end]
    raise ValueError("this Image has no type information")


def symbols(image: bytes) -> Iterator[str]:
    """The names in /proc/kallsyms that are the kernel's own. Raises ValueError."""
    tokens, table_at = _tokens(image)
    markers, markers_at = _markers(image, table_at)
    names_at = _names(image, markers, markers_at)
    counts = struct.unpack_from("<2I", image, names_at - 8)
    # kallsyms_num_syms is before the names, and maybe 4 bytes of nothing.
    count = next((each for each in counts if -(-each // _BLOCK) == len(markers)), None)
    if count is None:
        raise ValueError("the number of this Image's symbols is not where it should be")
    for at, end in _entries(image, names_at, count):
        text = b"".join(tokens[byte] for byte in image[at:end])
        yield text[1:].decode()  # the first letter is the symbol's type


def _tokens(image: bytes) -> tuple[list[bytes], int]:
    """kallsyms_token_table, and where it begins; other tables have digits too."""
    for match in _DIGITS.finditer(image):
        start = match.start()
        for _ in range(ord("0")):
            start = image.rindex(b"\0", 0, start - 1) + 1
        tokens = image[start : start + (1 << 16)].split(b"\0", _TOKENS)[:_TOKENS]
        places = [0]
        for token in tokens:
            places.append(places[-1] + len(token) + 1)
        index = struct.pack(f"<{_TOKENS}H", *(place & 0xFFFF for place in places[:-1]))
        end = start + places[-1]
        if index in image[end : end + len(index) + 8]:  # kallsyms_token_index, aligned
            return tokens, start
    raise ValueError("this Image has no table of its symbols' names")


def _markers(image: bytes, end: int) -> tuple[list[int], int]:
    """kallsyms_markers, where each block of names begins, and where they are: before the tokens."""
    at = end - 4
    if image[at:end] == bytes(4):  # for alignment
        at -= 4
    found = [struct.unpack_from("<I", image, at)[0]]
    while found[-1]:
        at -= 4
        found.append(struct.unpack_from("<I", image, at)[0])
        if found[-1] >= found[-2]:
            raise ValueError("this Image's markers do not ascend")
    return found[::-1], at


def _names(image: bytes, markers: list[int], end: int) -> int:
    """Where kallsyms_names begins: there each block is as long as the markers say."""
    last = end - markers[-1]
    for at in range(last & ~3, last - _LAST_BLOCK_BYTES, -4):
        lengths = [where - at for _, where in _entries(image, at, 2 * _BLOCK)]
        if lengths[_BLOCK - 1 :: _BLOCK] == markers[1:3]:
            return at
    raise ValueError("this Image's names of symbols are not before their markers")


def _entries(image: bytes, at: int, count: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each name: its length goes before it, in two bytes if it is over 127.

    Fewer where the Image ends: no names begin there.
    """
    for _ in range(count):
        if at + 1 >= len(image):
            return
        length = image[at]
        at += 1
        if length & 0x80:
            length = length & 0x7F | image[at] << 7
            at += 1
        yield at, at + length
        at += length
