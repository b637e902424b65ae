"""Builds the lab kernel: source + patches + fragment -> Image, in the cache by what went in."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
from collections import deque
from pathlib import Path

from nvscope.lab import steps, store
from nvscope.lab.kernel.source import Source
from nvscope.lab.paths import cache_dir
from nvscope.lab.process import die_with_parent
from nvscope.probes.errors import LackError

HERE = Path(__file__).parent
FRAGMENT = HERE / "lab.config"
# 1.8 GiB of source and 1.9 GiB of objects, as measured, and room to link.
NEEDED_BYTES = 6 << 30
# Lines that the build prints; only the progress is measured by it.
EXPECTED_LINES = 2020


def patches() -> list[Path]:
    """The patches of the lab kernel, in the order of their names."""
    return sorted(HERE.glob("*.patch"))


def key(source: Source) -> str:
    """The cache key: whatever changes the Image changes it."""
    tools = [_first_line(f"{_cross()}gcc", "--version"), _first_line("pahole", "--version")]
    return store.digest(source.identity, FRAGMENT, *patches(), *tools)


def build(source: Source) -> Path:
    """The folder with Image, config and System.map; built if it is not in the cache."""
    name = key(source)
    if store.path_of("kernel", name).is_dir():
        steps.cached("lab kernel")
        return store.path_of("kernel", name)
    _require_disk()
    with steps.step("lab kernel, about 10 minutes on two cores") as tell:
        return store.artifact("kernel", name, lambda folder: _make(folder, source, tell))


def dropped(fragment: str, config: str) -> list[str]:
    """The fragment's settings that the final configuration does not have.

    >>> dropped("# net\\nCONFIG_NET=y\\nCONFIG_VIRTIO_NET=y\\n", "CONFIG_NET=y\\n")
    ['CONFIG_VIRTIO_NET=y']
    """
    have = set(config.splitlines())
    wanted = [line for line in fragment.splitlines() if line.startswith("CONFIG_")]
    return [line for line in wanted if line not in have]


def _make(folder: Path, source: Source, tell: steps.Tell) -> None:
    work = folder / "work"
    work.mkdir()
    tell("unpacking the source")
    tree = source.unpack(work)
    for patch in patches():
        tell(f"applying {patch.name}")
        _run(["patch", "-p1", "--forward", "--silent", "-i", str(patch)], tree, f"{patch.name}")
    objects = work / "objects"
    objects.mkdir()
    make = ["make", "-C", str(tree), f"O={objects}", "ARCH=arm64", f"CROSS_COMPILE={_cross()}"]
    tell("configuring")
    _run([*make, f"KCONFIG_ALLCONFIG={FRAGMENT}", "allnoconfig"], tree, "configuration")
    missing = dropped(FRAGMENT.read_text(), (objects / ".config").read_text())
    if missing:
        raise LackError(f"this source silently drops settings of lab.config: {', '.join(missing)}")
    _compile([*make, f"-j{os.cpu_count()}", "Image"], folder, tell)
    for result, name in (("arch/arm64/boot/Image", "Image"), (".config", "config")):
        shutil.copyfile(objects / result, folder / name)
    shutil.copyfile(objects / "System.map", folder / "System.map")
    shutil.rmtree(work)


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


def _run(argv: list[str], cwd: Path, what: str) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        output = (done.stderr + done.stdout).strip().splitlines()
        raise LackError(f"{what} failed: {output[-1] if output else argv}")


def _require_disk() -> None:
    cache_dir().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache_dir()).free
    if free < NEEDED_BYTES:
        raise LackError(
            f"the kernel build needs {NEEDED_BYTES >> 30} GiB in {cache_dir()}, and "
            f"{free >> 30} GiB are free: make room, or set NVSCOPE_CACHE to another disk"
        )


def _cross() -> str:
    return "" if platform.machine() == "aarch64" else "aarch64-linux-gnu-"


def _first_line(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]
