"""A kernel that a user gives as it is: kept in the cache by its content, and how it can boot."""

from __future__ import annotations

import shutil
from pathlib import Path

from nvscope.lab.host.machine import Machine
from nvscope.lab.kernel import image
from nvscope.lab.setup import steps, store
from nvscope.probes.errors import InputError, LackError

KIND = "given"


def name(kernel: Path, initrd: Path | None) -> str:
    """What it is called, by its content and that of its initrd: "image 0123456789abcdef"."""
    try:
        return f"image {store.digest(*(each for each in (kernel, initrd) if each))}"
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from None


def get(kernel: Path, initrd: Path | None) -> tuple[str, Machine]:
    """Its name, and the machine for it; raises InputError, LackError where it cannot boot here.

    What is booted is a copy: the user may build the next one meanwhile.
    """
    called = name(kernel, initrd)

    def make(folder: Path) -> None:
        (folder / "Image").write_bytes(image.raw(kernel))
        if initrd:
            shutil.copyfile(initrd, folder / "initrd")

    folder = store.artifact(KIND, called.split()[-1], make)
    return called, machine(kernel, folder / "Image", folder / "initrd" if initrd else None)


def machine(kernel: Path, raw: Path, initrd: Path | None) -> Machine:
    """How it boots: from a disk where it has the drivers, or brings them; else from memory.

    kernel: for what is said of it; raw: its raw Image.
    """
    missing = image.lacks(raw, image.DISK_DRIVERS)
    if initrd or not missing:
        return Machine(raw, initrd, foreign=True)
    if serial := image.lacks(raw, image.SERIAL_DRIVERS):
        raise LackError(
            f"{kernel} has neither {', '.join(missing)} built in, to boot from a disk, nor"
            f" {serial[0]}, to boot from memory: build them in, or give an --initrd that loads them"
        )
    steps.console.print(
        f"  … {kernel} has no {', '.join(missing)} built in: its root file system is in memory",
        markup=False,
    )
    return Machine(raw, in_memory=True, foreign=True)
