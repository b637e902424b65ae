"""Assembles l1.S, the synthetic hypervisor, into a flat binary."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from nvscope.lab.workloads.vmm import protocol
from nvscope.probes.errors import LackError

_SOURCE = Path(__file__).with_name("l1.S")
# What the binary is made from; a change makes another one.
INPUTS = (_SOURCE, Path(protocol.__file__))


def build(dest_dir: Path) -> Path:
    """Assemble the payload into dest_dir/l1.bin: protocol.PAYLOAD_BYTES bytes, loaded at RAM_IPA.

    Raises LackError where binutils for arm64 is missing or refuses the source.
    """
    dest_dir.mkdir(parents=True, exist_ok=True)
    elf, flat = dest_dir / "l1.o", dest_dir / "l1.bin"
    symbols = protocol.assembler_symbols().items()
    defines = [part for name, value in symbols for part in ("--defsym", f"{name}={value:#x}")]
    _run([_tool("as"), *defines, "-o", str(elf), str(_SOURCE)])
    _run([_tool("objcopy"), "-O", "binary", "-j", ".text", str(elf), str(flat)])
    elf.unlink()
    return flat


def _tool(name: str) -> str:
    native = platform.machine() in {"aarch64", "arm64"}
    command = name if native else f"aarch64-linux-gnu-{name}"
    path = shutil.which(command)
    if path is None:
        package = "binutils" if native else "binutils-aarch64-linux-gnu"
        raise LackError(
            f"{command} not found, needed to assemble {_SOURCE.name}: install {package}"
        )
    return path


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise LackError(f"{Path(command[0]).name} refused {_SOURCE.name}: {reason}")
