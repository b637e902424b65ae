"""The page tables of running VMs, as KVM shows them in debugfs (CONFIG_PTDUMP_STAGE2_DEBUGFS)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nvscope.analysis.verify.ptdump import PtdumpError, Table, parsed
from nvscope.probes.errors import LackError

MOUNTED = Path("/sys/kernel/debug")
# kvm_create_vm_debugfs(): the process that made the VM, and its file descriptor there.
_FOLDER = re.compile(r"(\d{1,10})-(\d{1,10})", re.ASCII)
# kvm_nested_s2_ptdump_create_debugfs(): by the place in kvm->arch.nested_mmus.
_SHADOW = re.compile(r"nested_mmu(\d{1,6})", re.ASCII)
_CANONICAL = "stage2_page_tables"

NO_PTDUMP = "this kernel shows no page tables: it needs CONFIG_PTDUMP_STAGE2_DEBUGFS"
NO_SHADOW = "this kernel shows the canonical stage 2 only, and no shadow ones"


@dataclass(frozen=True)
class Shown:
    """What is shown of one VM. tables: of its shadow MMUs, in their order.

    why: why they are not all there; "": they are.
    """

    folder: Path
    tables: tuple[Table, ...] = ()
    why: str = ""


def shown(mounted: Path, pids: Collection[int]) -> dict[int, list[Shown]]:
    """What is shown of the VMs of these processes, by process. Raises LackError."""
    kvm = mounted / "kvm"
    found: dict[int, list[Shown]] = {pid: [] for pid in pids}
    try:
        names = sorted(each.name for each in kvm.iterdir())
    except PermissionError:
        raise LackError(f"{kvm}: Permission denied: run as root") from None
    except OSError as error:
        raise LackError(
            f"{kvm}: {error.strerror}: mount debugfs (mount -t debugfs debugfs {mounted})"
            " on a host with KVM"
        ) from None
    for name in names:
        match = _FOLDER.fullmatch(name)
        if match and int(match[1]) in found:
            found[int(match[1])].append(_shown(kvm / name))
    return found


def _shown(folder: Path) -> Shown:
    try:
        if not (folder / _CANONICAL).exists():
            return Shown(folder, why=NO_PTDUMP if folder.exists() else "the VM is ending")
        nested = folder / "nested"
        names = [each.name for each in nested.iterdir()] if nested.is_dir() else []
        numbers = sorted(int(m[1]) for m in map(_SHADOW.fullmatch, names) if m)
        if not numbers:
            return Shown(folder, why=NO_SHADOW)
        if numbers != list(range(len(numbers))):
            return Shown(folder, why=f"{nested} does not hold nested_mmu0 and so on without gaps")
        return _read(folder, [nested / f"nested_mmu{n}" for n in numbers])
    except PermissionError as error:
        raise LackError(f"{error.filename}: Permission denied: run as root") from None
    except OSError as error:
        return Shown(folder, why=f"{error.filename or folder}: {error.strerror}")


def _read(folder: Path, files: list[Path]) -> Shown:
    tables = []
    for file in files:
        try:
            tables.append(parsed(file.read_bytes().decode("ascii")))
        except UnicodeDecodeError:
            return Shown(folder, why=f"{file}: it is no text")
        except PtdumpError as error:
            return Shown(folder, why=f"{file}: {error}")
    return Shown(folder, tuple(tables))
