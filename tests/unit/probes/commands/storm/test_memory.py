"""Which memory of a VMM is its guest's, and what of it is present."""

from __future__ import annotations

from array import array
from pathlib import Path

from nvscope.probes.commands.storm.memory import PAGE_BYTES, guest_memory, present


def smaps(*mappings: tuple[str, int, str, str]) -> str:
    """Text of /proc/PID/smaps. mappings: permissions, size in MiB, file and VmFlags."""
    lines, at = [], 0x7F0000000000
    for permissions, mib, name, flags in mappings:
        inode = "77" if name.startswith("/") else "0"
        lines.append(f"{at:x}-{at + (mib << 20):x} {permissions} 00000000 00:01 {inode}   {name}")
        lines += [f"Size: {mib << 10} kB", "Rss: 0 kB", f"VmFlags: {flags} "]
        at += mib << 21
    return "\n".join(lines) + "\n"


def sizes(text: str) -> list[int]:
    return [m.size_bytes >> 20 for m in guest_memory(text)]


def test_guest_memory_is_what_a_fork_leaves_out() -> None:
    text = smaps(
        ("rw-p", 5000, "", "rd wr mr mw me ac"),  # the VMM's own heap
        ("rw-p", 1024, "", "rd wr mr mw me dc ac"),
        ("rw-s", 4096, "/memfd:memory-backend-memfd (deleted)", "rd wr sh dc"),
        ("rw-p", 16, "", "rd wr dc"),  # video memory
        ("rw-s", 8192, "/dev/vfio/7", "rd wr pf dc"),
    )
    assert sizes(text) == [4096, 1024]


def test_guest_memory_of_a_vmm_that_does_not_say() -> None:
    text = smaps(
        ("rw-p", 512, "[heap]", "rd wr"),
        ("r--p", 900, "", "rd"),
        ("rw-p", 800, "/usr/lib/libbig.so", "rd wr"),
        ("rw-p", 256, "", "rd wr"),
        ("rw-p", 63, "", "rd wr"),
        ("rw-s", 100, "/dev/hugepages/ram (deleted)", "rd wr ht"),
    )
    assert sizes(text) == [256, 100]
    assert guest_memory("") == []


def test_pages_that_are_present(tmp_path: Path) -> None:
    entries = array("Q", [0, 1 << 63, 1 << 62, 1 << 63 | 7, 1 << 63])
    (tmp_path / "pagemap").write_bytes(entries.tobytes())
    assert present(tmp_path / "pagemap", PAGE_BYTES, 3) == 2
