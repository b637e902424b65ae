"""Builds the lab kernel: source + patches + fragments -> Image, in the cache by what went in."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.kernel import tools
from nvscope.lab.kernel.source import Source
from nvscope.lab.setup import steps, store
from nvscope.lab.setup.paths import cache_dir
from nvscope.lab.setup.process import die_with_parent
from nvscope.probes.errors import LackError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Flavour:
    """A kernel that is built here.

    title: of its build, with how long that takes; fragments: the settings over allnoconfig;
    patches: what is applied to Debian's source, in this order.
    """

    title: str
    fragments: tuple[str, ...]
    patches: tuple[str, ...]


REVMAP = (
    "0001-nested-revmap.patch",
    "0002-nested-revmap-broken-tracepoint.patch",
    "0003-nested-revmap-bugs.patch",
)
FLAVOURS = {
    "lab": Flavour("lab kernel, about 10 minutes on two cores", ("lab.config",), REVMAP),
    "debug": Flavour(
        "debug kernel, about half an hour on two cores", ("lab.config", "debug.config"), REVMAP
    ),
}
# 1.8 GiB of source and 1.9 GiB of objects, as measured, and room to link.
NEEDED_BYTES = 6 << 30
# Lines that the build prints; only the progress is measured by it.
EXPECTED_LINES = 2020


def patches(flavour: str) -> list[Path]:
    """The patches of a flavour, in the order in which they are applied."""
    return [HERE / name for name in FLAVOURS[flavour].patches]


def fragment(flavour: str) -> str:
    """All settings of a flavour as one text: KCONFIG_ALLCONFIG takes a single file."""
    return "".join((HERE / name).read_text() for name in FLAVOURS[flavour].fragments)


def key(source: Source, flavour: str = "lab") -> str:
    """The cache key: whatever changes the Image changes it."""
    versions = tools.versions(f"{tools.cross()}gcc", "pahole")
    return store.digest(source.identity, fragment(flavour), *patches(flavour), *versions)


def is_cached(source: Source, flavour: str = "lab") -> bool:
    """Whether `build` has nothing to do."""
    return store.path_of("kernel", key(source, flavour)).is_dir()


def build(source: Source, flavour: str = "lab") -> Path:
    """The folder with Image, config and System.map; built if it is not in the cache."""
    name = key(source, flavour)
    if store.path_of("kernel", name).is_dir():
        steps.cached(f"{flavour} kernel")
        return store.path_of("kernel", name)
    tools.require_disk(NEEDED_BYTES, "the kernel build")
    with steps.step(FLAVOURS[flavour].title) as tell:
        return store.artifact("kernel", name, lambda folder: _make(folder, source, flavour, tell))


def dropped(fragment: str, config: str) -> list[str]:
    """The fragment's settings that the final configuration does not have.

    >>> dropped("# net\\nCONFIG_NET=y\\nCONFIG_VIRTIO_NET=y\\n", "CONFIG_NET=y\\n")
    ['CONFIG_VIRTIO_NET=y']
    """
    have = set(config.splitlines())
    wanted = [line for line in fragment.splitlines() if line.startswith("CONFIG_")]
    return [line for line in wanted if line not in have]


def _make(folder: Path, source: Source, flavour: str, tell: steps.Tell) -> None:
    work = folder / "work"
    work.mkdir()
    tell("unpacking the source")
    tree = source.unpack(work)
    for patch in patches(flavour):
        tell(f"applying {patch.name}")
        apply = ["patch", "-p1", "--forward", "--silent", "-i", str(patch)]
        tools.run(apply, tree, patch.name)
    objects = work / "objects"
    objects.mkdir()
    make = tools.make(tree, f"O={objects}")
    tell("configuring")
    _configure(make, work, flavour)
    _compile([*make, f"-j{os.cpu_count()}", "Image"], folder, tell)
    for result, name in (("arch/arm64/boot/Image", "Image"), (".config", "config")):
        shutil.copyfile(objects / result, folder / name)
    shutil.copyfile(objects / "System.map", folder / "System.map")
    shutil.rmtree(work)


def _configure(make: list[str], work: Path, flavour: str) -> None:
    wanted = work / "fragment"
    wanted.write_text(fragment(flavour))
    tools.run([*make, f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig"], work, "configuration")
    missing = dropped(wanted.read_text(), (work / "objects/.config").read_text())
    if missing:
        files = " and ".join(FLAVOURS[flavour].fragments)
        raise LackError(f"this source silently drops settings of {files}: {', '.join(missing)}")


def _compile(make: list[str], folder: Path, tell: steps.Tell) -> None:
    """Run make, say how far it is, and on failure name its first error."""
    log = cache_dir() / "kernel-build.log"
    last: deque[str] = deque(maxlen=400)
    # Reproducible: neither the host's name nor the time goes into the Image.
    env = os.environ | {"KBUILD_BUILD_USER": "lab", "KBUILD_BUILD_HOST": "nvscope"}
    with (
        log.open("w") as log_file,
        subprocess.Popen(
            make,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            # make passes SIGTERM on to its own children.
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (only a prctl)
        ) as process,
    ):
        assert process.stdout
        try:
            for number, line in enumerate(process.stdout, 1):
                log_file.write(line)
                last.append(line.strip())
                tell(f"{min(99, 100 * number // EXPECTED_LINES)} %  {line.strip()[-50:]}")
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        errors = [line for line in last if re.search(r"\berror\b|\*\*\*", line, re.IGNORECASE)]
        reason = errors[0] if errors else "no error line found"
        raise LackError(f"the lab kernel did not build: {reason} (the whole log: {log})")
