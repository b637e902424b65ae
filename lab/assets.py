"""All that a lab needs, prepared: tools, kernel, root file system, payload; each from the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nvscope.lab import host, rootfs, steps, store
from nvscope.lab.kernel import build, source, stock
from nvscope.lab.machine import Machine, Share
from nvscope.lab.paths import source_root
from nvscope.lab.vm import Lab
from nvscope.lab.workloads import payload

KERNELS = ("lab", "stock")


@dataclass(frozen=True)
class Assets:
    """What is ready to boot.

    rootfs: folder of the root image and keys; artifacts: what the guest sees at /mnt/artifacts,
    the kernel for guests of its own and the synthetic guest's payload.
    """

    machine: Machine
    rootfs: Path
    artifacts: Path

    def boot(self, **changes: object) -> Lab:
        """Start a lab host; `changes` replace fields of the machine. Not ready yet: wait_ready."""
        machine = replace(self.machine, **changes)  # type: ignore[arg-type]
        shares = [Share("src", source_root()), Share("artifacts", self.artifacts)]
        return Lab(machine, self.rootfs, shares)


def prepare(kernel: str = "lab", given_source: Path | None = None) -> Assets:
    """Make, or find in the cache, all that booting the kernel ("lab" or "stock") needs."""
    host.ready()
    machine = _stock() if kernel == "stock" else _lab(given_source)
    return Assets(machine, rootfs.build(machine), _artifacts(machine))


def _lab(given_source: Path | None) -> Machine:
    if given_source:
        chosen = source.given(given_source)
    elif source.is_cached():
        chosen = source.fetched()
    else:
        with steps.step("kernel source, 167 MB"):
            chosen = source.fetched()
    return Machine(kernel=build.build(chosen) / "Image")


def _stock() -> Machine:
    folder = stock.build()
    return Machine(kernel=folder / "Image", initrd=folder / "initrd")


def _artifacts(machine: Machine) -> Path:
    """A folder for each kernel and payload: labs of different ones do not disturb each other."""

    def make(folder: Path) -> None:
        payload.build(folder)
        (folder / "Image").hardlink_to(machine.kernel)

    key = store.digest(str(machine.kernel), *payload.INPUTS)
    return store.artifact("artifacts", key, make)
