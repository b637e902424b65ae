"""A debugfs as KVM fills it, for tests: folders of VMs, and page tables as it prints them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.unit.analysis.kernel import PAGE, TOP, Mmu

WRITABLE = "  R W px ux  AF    "
READ_ONLY = "  R   px ux  AF    "
BLOCK = "  R W px ux  AF BLK"
LOCKED = "F         px ux  AF    "  # KVM_INVALID_PTE_LOCKED has the place of the access flag
VTTBR = 0x0001_0000_8010_0000

Run = tuple[int, int, str]  # [start, end), attributes


def printed(runs: Iterable[Run], vttbr: int | None = VTTBR) -> str:
    """A shadow MMU's file. runs: in order, disjoint. vttbr: None for one that has no context."""
    if vttbr is None:
        return ""
    lines = [
        f"VTCR: 0x{0x8001355C:016x} VTTBR: 0x{vttbr:016x} s2: enabled",
        "---[ Guest IPA ]---",
    ]
    at = 0
    for start, end, attributes in [*runs, (TOP, TOP, "")]:
        if at < start:
            lines.append(_line(at, start, 0, ""))
        if start < end:
            lines.append(_line(start, end, 3, attributes))
        at = end
    return "\n".join(lines) + "\n"


def _line(start: int, end: int, level: int, attributes: str) -> str:
    size, units = (end - start) >> 10, "KMGTPE"
    while not size & 1023 and units[1:]:
        size, units = size >> 10, units[1:]
    return (
        f"0x{start:016x}-0x{end:016x}   {size:>9}{units[0]} {level}{attributes and ' '}{attributes}"
    )


def tables(mmu: Mmu) -> str:
    """What a simulated MMU maps."""
    leaves = {block.nested: block for block in mmu.pages.values()}
    runs = [
        (b.nested, b.nested + b.size, WRITABLE if b.size == PAGE else BLOCK)
        for _, b in sorted(leaves.items())
    ]
    return printed(runs)


def show(mounted: Path, pid: int, files: Iterable[str], fd: int = 9) -> Path:
    """Make the folder of a VM, with these files of its shadow MMUs."""
    folder = mounted / "kvm" / f"{pid}-{fd}"
    (folder / "nested").mkdir(parents=True, exist_ok=True)
    (folder / "stage2_page_tables").write_text(
        "---[ Guest IPA ]---\n" + _line(0, TOP, 0, "") + "\n"
    )
    for number, content in enumerate(files):
        (folder / "nested" / f"nested_mmu{number}").write_text(content)
    return folder
