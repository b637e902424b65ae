"""All that a lab needs, prepared: tools, kernel, root file system, payload; each from the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nvscope.lab import host, rootfs, steps, store
from nvscope.lab.kernel import build, source, stock
from nvscope.lab.machine import Machine, Share
from nvscope.lab.paths import cache_dir, source_root
from nvscope.lab.vm import Lab
from nvscope.lab.workloads import payload

KERNELS = ("lab", "stock")


@dataclass(frozen=True)
class Assets:
    """What is ready to boot: a machine, and the folder of its root image."""

    machine: Machine
    rootfs: Path

    def boot(self, **changes: object) -> Lab:
        """Start a lab host; `changes` replace fields of the machine. Not ready yet: wait_ready."""
        return Lab(replace(self.machine, **changes), self.rootfs, _shares())  # type: ignore[arg-type]


def prepare(kernel: str = "lab", given_source: Path | None = None) -> Assets:
    """Make, or find in the cache, all that booting the kernel ("lab" or "stock") needs."""
    host.ready()
    machine = _stock() if kernel == "stock" else _lab(given_source)
    _artifacts(machine)
    return Assets(machine, rootfs.build(machine))


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


def artifacts_dir() -> Path:
    """What the guest sees at /mnt/artifacts: the kernel for its own guests, and the payload."""
    return cache_dir() / "artifacts"


def _artifacts(machine: Machine) -> None:
    folder = artifacts_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with store.locked("artifacts"):
        payload.build(folder)
        image = folder / "Image"
        if not image.exists() or not image.samefile(machine.kernel):
            image.unlink(missing_ok=True)
            image.hardlink_to(machine.kernel)


def _shares() -> list[Share]:
    return [Share("src", source_root()), Share("artifacts", artifacts_dir())]
