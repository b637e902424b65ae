"""All that a lab needs, prepared: tools, kernel, root file system, payload; each from the cache."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from nvscope.lab.host.machine import Machine, Share
from nvscope.lab.host.vm import Lab
from nvscope.lab.kernel import given, image, names, selftests, source
from nvscope.lab.kernel.building import build
from nvscope.lab.kernel.packages import packaged
from nvscope.lab.kernel.subject import Subject, subject
from nvscope.lab.setup import host, memory, rootfs, steps, store
from nvscope.lab.setup.paths import source_root
from nvscope.lab.setup.together import together
from nvscope.lab.workloads.vmm import payload
from nvscope.probes.errors import InputError, LackError

# Of the kernels that are built here each has one.
REVMAP_PARAMETERS = ("kvm_arm.nested_revmap", "kvm_arm.guest_s2_tracking")
# Those that have a name; the others are versions of Debian's.
KERNELS = (*build.FLAVOURS, names.STOCK)


@dataclass(frozen=True)
class Assets:
    """What is ready to boot.

    kernel: what `running` tells labs apart by: "lab", "debug", the release of a packaged one, or a
    word and a digest where a user gave something; rootfs: folder of the root image and keys;
    artifacts: what the guest sees at /mnt/artifacts, the kernel for guests of its own, the
    synthetic guest's payload and, where they were asked for, KVM's selftests.
    """

    kernel: str
    machine: Machine
    rootfs: Path
    artifacts: Path

    def boot(self, **changes: object) -> Lab:
        """Start a lab host; `changes` replace fields of the machine. Not ready yet: wait_ready."""
        machine = replace(self.machine, **changes)  # type: ignore[arg-type]
        if machine.in_memory and machine.systemd:
            raise LackError(f"the kernel {self.kernel} runs from memory here, without systemd")
        if not machine.revmap:
            self.require_revmap()
        shares = [Share("src", source_root()), Share("artifacts", self.artifacts)]
        return Lab(machine, self.rootfs, shares)

    def require_linux(self) -> None:
        """Raises LackError where no Linux can be a guest in it."""
        if self.machine.in_memory:
            raise LackError(
                f"the kernel {self.kernel} runs from memory here, without the QEMU that --guest"
                " linux needs: choose another kernel"
            )
        if missing := image.lacks(self.artifacts / "Image", image.SHARE_DRIVERS):
            raise LackError(
                f"the kernel {self.kernel} cannot be its own Linux guest, whose root comes over 9p:"
                f" {', '.join(missing)} is not built in"
            )

    def require_revmap(self) -> None:
        """Raises InputError where the kernel has no reverse map that can be turned on and off."""
        if not any(image.has_parameter(self.machine.kernel, name) for name in REVMAP_PARAMETERS):
            raise InputError(
                f"the kernel {self.kernel} has no reverse map to turn on or off (no parameter"
                f" {' or '.join(REVMAP_PARAMETERS)}); --kernel lab has one"
            )


def prepare(wanted: Subject | str = "lab", with_selftests: bool = False) -> Assets:
    """Make, or find in the cache, all that booting a kernel needs.

    wanted: the kernel; a word for one will do. Packages of this machine come first, of which
    Debian's kernels need but few, then the kernel; the root file system is made meanwhile.
    """
    chosen = subject(wanted)
    needs = _needs(chosen, with_selftests)
    tools_ready = threading.Event()

    def kernels() -> _Kernels:
        try:
            host.ready(*needs)
        finally:
            tools_ready.set()
        return _kernels(chosen, with_selftests)

    if rootfs.is_cached():
        found, root = kernels(), rootfs.build()
    else:
        host.require_root(host.missing_packages(*needs))
        found, root = together(kernels, lambda: rootfs.build(tools_ready.wait))
    machine = found.machine
    if machine.in_memory:
        machine = replace(machine, initrd=memory.build(root))
    return Assets(found.name, machine, root, _artifacts(found.inside, found.tests))


def is_built() -> bool:
    """Whether the lab kernel is cached, so that `prepare` takes seconds."""
    # The versions of the tools that build it are in its key.
    tools = not host.missing_packages(host.BUILD_NEEDS)
    return tools and source.is_cached() and build.is_cached(source.fetched())


def may_build() -> None:
    """Raises LackError where a build needs packages that this user may not install."""
    host.require_root(host.missing_packages(host.BUILD_NEEDS))


def identity(wanted: Subject | str) -> str:
    """What `Assets.kernel` would be: for packaged kernels the release that the word means now."""
    chosen = subject(wanted)
    if chosen.image:
        return given.name(chosen.image, chosen.initrd)
    if chosen.built:
        return chosen.kernel if chosen.is_named else build.name(_source(chosen), *_how(chosen))
    return packaged.resolve(names.wanted(chosen.kernel)).name


def prepare_tests() -> None:
    """Install the programs that unit tests use where they are there."""
    host.ready(host.BUILD_NEEDS, host.TEST_NEEDS)


@dataclass(frozen=True)
class _Kernels:
    """name: as in Assets; inside: Image for guests in the machine; tests: KVM's selftests."""

    name: str
    machine: Machine
    inside: Path
    tests: Path | None


def _needs(chosen: Subject, with_selftests: bool) -> list[host.Needs]:
    builds = with_selftests or chosen.built
    needs = [host.BUILD_NEEDS] * builds + [host.LIBC_NEEDS] * with_selftests
    return needs + [host.GIT_NEEDS] * bool(chosen.source and (chosen.source / ".git").exists())


def _kernels(chosen: Subject, with_selftests: bool) -> _Kernels:
    name, machine = _chosen(chosen)
    guests = build.FLAVOURS[chosen.kernel].guests if chosen.built else ""
    inside = _chosen(replace(chosen, kernel=guests))[1] if guests else machine
    tests = selftests.build(_fetched()) if with_selftests else None
    return _Kernels(name, machine, inside.kernel, tests)


def _chosen(chosen: Subject) -> tuple[str, Machine]:
    if chosen.image:
        return given.get(chosen.image, chosen.initrd)
    if chosen.built:
        origin = _source(chosen)
        name = chosen.kernel if chosen.is_named else build.name(origin, *_how(chosen))
        return name, Machine(build.build(origin, *_how(chosen)) / "Image")
    return _packaged(chosen.kernel)


def _source(chosen: Subject) -> source.SourceTree:
    return source.given(chosen.source) if chosen.source else _fetched()


def _how(chosen: Subject) -> tuple[str, build.Extras]:
    return chosen.kernel, build.Extras(chosen.patches, chosen.configs)


def _fetched() -> source.SourceTree:
    if source.is_cached():
        return source.fetched()
    with steps.step("kernel source, 167 MB"):
        return source.fetched()


def _packaged(kernel: str) -> tuple[str, Machine]:
    found = packaged.get(names.wanted(kernel))
    image, initrd = found.folder / "Image", found.initrd
    return found.release.name, Machine(image, initrd, in_memory=initrd is None)


def _artifacts(inside: Path, tests: Path | None) -> Path:
    """A folder for each kernel and payload: labs of different ones do not disturb each other."""

    def make(folder: Path) -> None:
        payload.build(folder)
        (folder / "Image").hardlink_to(inside)
        if tests:
            shutil.copytree(tests, folder / "selftests", copy_function=os.link)

    key = store.digest(str(inside), *payload.INPUTS, *([tests.name] if tests else []))
    return store.artifact("artifacts", key, make)
