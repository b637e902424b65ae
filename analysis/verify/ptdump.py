"""What the kernel prints of a stage 2: arch/arm64/kvm/ptdump.c, and note_page() of mm/ptdump.c.

It prints each run of entries that have the same level and attributes, also of entries that map
nothing. Of where they lead it prints nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nvscope.analysis.verify.spans import Spans, merged

_CONTEXT = re.compile(r"VTCR: 0x[0-9a-f]{16} VTTBR: 0x([0-9a-f]{16}) s2: (?:enabled|disabled)")
_MARKER = "---[ Guest IPA ]---"
# Start, end, size with its unit, level; then, unless all of its bits are 0, attributes, of which
# the first is "F" in an entry that is not valid (PTE_VALID), else blank.
_RUN = re.compile(
    r"0x([0-9a-f]{16})-0x([0-9a-f]{16})   ( *[0-9]+[KMGTPE]) [0-3](?:( [ F])[ A-Za-z0-9]*)?"
)
_VALID = "  "
_SMALLEST_SPACE = 1 << 32  # ARM64_MIN_PARANGE_BITS of arch/arm64/include/asm/kvm_mmu.h
_UNITS = "KMGTPE"


class PtdumpError(Exception):
    """This is nothing that the kernel prints; the message is a line that says where."""


@dataclass(frozen=True)
class Table:
    """What a stage 2 maps. mapped: of its input addresses, nested IPAs of a shadow one.

    vttbr: VTTBR_EL2 of the context that a shadow MMU is for; None: it is for none, and empty, or
    this is the canonical one.
    """

    mapped: Spans
    vttbr: int | None = None


def parsed(text: str) -> Table:
    """A whole file. Raises PtdumpError.

    >>> run = "0x0000000000000000-0x0000000000001000           4K 3   R     px ux  AF    \\n"
    >>> rest = "0x0000000000001000-0x0000000100000000     4194300K 2\\n"
    >>> parsed("---[ Guest IPA ]---\\n" + run + rest).mapped
    ((0, 4096),)
    """
    if not text:
        return Table(())  # of a shadow MMU that no context was given to
    if not text.endswith("\n"):
        raise PtdumpError("its last line has no end")
    lines = text[:-1].split("\n")
    context = _CONTEXT.fullmatch(lines[0])
    first = 1 if context else 0
    if len(lines) < first + 2 or lines[first] != _MARKER:
        raise PtdumpError(f"line {first + 1} is not {_MARKER!r} with a range after it")
    mapped = []
    end = 0
    for number, line in enumerate(lines[first + 1 :], first + 2):
        start, end_here, is_valid = _run(number, line)
        if start != end:
            raise PtdumpError(f"line {number} does not begin where the one before it ends")
        end = end_here
        if is_valid:
            mapped.append((start, end))
    if end & (end - 1) or end < _SMALLEST_SPACE:
        raise PtdumpError("it does not go to the end of an IPA space")
    return Table(merged(mapped), int(context[1], 16) if context else None)


def _run(number: int, line: str) -> tuple[int, int, bool]:
    match = _RUN.fullmatch(line)
    if match is None:
        raise PtdumpError(f"line {number} is no range of a page table: {line[:60]!r}")
    start, end = int(match[1], 16), int(match[2], 16)
    if start >= end or match[3] != _size(end - start):
        raise PtdumpError(f"line {number} has a range and a size that do not agree")
    return start, end, match[4] == _VALID


def _size(count_bytes: int) -> str:
    """As note_page() prints it.

    >>> _size(0x200000), _size(0x201000)
    ('        2M', '     2052K')
    """
    size, unit = count_bytes >> 10, 0
    while size & 1023 == 0 and unit < len(_UNITS) - 1:
        size, unit = size >> 10, unit + 1
    return f"{size:9}{_UNITS[unit]}"
