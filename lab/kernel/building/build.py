"""Builds the lab kernel: source + patches + fragments -> Image, in the cache by what went in."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.kernel import tools
from nvscope.lab.kernel.building import config, patching, work
from nvscope.lab.kernel.source import SourceTree
from nvscope.lab.processes.lifetime import die_with_parent
from nvscope.lab.setup import steps, store
from nvscope.lab.setup.paths import cache_dir
from nvscope.probes.errors import LackError

HERE = Path(__file__).parent
PATCHES = HERE.parent / "patches"


@dataclass(frozen=True)
class Flavour:
    """A kernel that is built here.

    title: of its build, with how long that takes; fragments: the settings over allnoconfig;
    patches: what is applied to Debian's source, in this order. guests: the flavour of its guests'
    kernels, "" for its own: what a debug kernel watches is the host, its guests are slow enough.
    """

    title: str
    fragments: tuple[str, ...]
    patches: tuple[str, ...]
    guests: str = ""


REVMAP = (
    "0001-nested-revmap.patch",
    "0002-nested-revmap-broken-tracepoint.patch",
    "0003-nested-revmap-bugs.patch",
)
# Another reverse map: precise tracking.
TRACKING = ("0001-guest-s2-tracking.patch", "0002-guest-s2-bugs.patch")
_LAB, _DEBUG = ("lab.config",), ("lab.config", "debug.config")
FLAVOURS = {
    "lab": Flavour("lab kernel, about 10 minutes on two cores", _LAB, REVMAP),
    "debug": Flavour("debug kernel, about half an hour on two cores", _DEBUG, REVMAP, "lab"),
    "tracking": Flavour("tracking kernel, about 10 minutes on two cores", _LAB, TRACKING),
    "tracking-debug": Flavour(
        "tracking debug kernel, about half an hour on two cores", _DEBUG, TRACKING, "tracking"
    ),
}
# Lines that the build prints; only the progress is measured by it.
EXPECTED_LINES = 2020


@dataclass(frozen=True)
class Extras:
    """What a user adds. patches: after ours; configs: fragments, whose settings come after ours."""

    patches: tuple[Path, ...] = ()
    configs: tuple[Path, ...] = ()


NOTHING = Extras()


def patches(flavour: str) -> list[Path]:
    """The patches of a flavour, in the order in which they are applied."""
    return [PATCHES / name for name in FLAVOURS[flavour].patches]


def fragment(flavour: str) -> str:
    """All settings of a flavour as one text: KCONFIG_ALLCONFIG takes a single file."""
    return "".join((HERE / name).read_text() for name in FLAVOURS[flavour].fragments)


def key(source: SourceTree, flavour: str = "lab", extras: Extras = NOTHING) -> str:
    """The cache key: whatever changes the Image changes it."""
    versions = tools.versions(f"{tools.cross()}gcc", "pahole")
    return store.digest(*_inputs(source, flavour, extras), *versions)


def name(source: SourceTree, flavour: str, extras: Extras) -> str:
    """What a kernel of a user's making is called, by what went in: "lab 0123456789abcdef"."""
    return f"{flavour} {store.digest(*_inputs(source, flavour, extras))}"


def is_cached(source: SourceTree, flavour: str = "lab") -> bool:
    """Whether `build` has nothing to do."""
    return store.path_of("kernel", key(source, flavour)).is_dir()


def build(source: SourceTree, flavour: str = "lab", extras: Extras = NOTHING) -> Path:
    """The folder with Image, config and System.map; built if it is not in the cache.

    Raises InputError where the user's patches or settings do not go with the source, LackError
    where it cannot be built.
    """
    at = key(source, flavour, extras)
    title = _title(source, flavour, extras)
    if store.path_of("kernel", at).is_dir():
        steps.cached(title.partition(",")[0])
        return store.path_of("kernel", at)
    tools.require_disk(work.needed_bytes(source, flavour), "the kernel build")
    with steps.step(title) as tell:
        make = functools.partial(_make, source, flavour, extras, tell)
        return store.artifact("kernel", at, make)


def _inputs(source: SourceTree, flavour: str, extras: Extras) -> list[str | Path]:
    patching.check(extras.patches)
    texts = [config.read(path) for path in extras.configs]
    return [source.identity, fragment(flavour), *_patches(source, flavour, extras), *texts]


def _patches(source: SourceTree, flavour: str, extras: Extras) -> list[Path]:
    """Ours are for our own source alone."""
    return [*([] if source.given else patches(flavour)), *extras.patches]


def _title(source: SourceTree, flavour: str, extras: Extras) -> str:
    """
    >>> _title(SourceTree(Path("/src/linux"), "git 01", given=True), "debug", NOTHING)
    'debug kernel of /src/linux'
    """
    if not source.given and extras == NOTHING:
        return FLAVOURS[flavour].title
    added = [f"with {path.name}" for path in (*extras.patches, *extras.configs)]
    return " ".join([f"{flavour} kernel", *([f"of {source.path}"] * source.given), *added])


def _make(source: SourceTree, flavour: str, extras: Extras, tell: steps.Tell, folder: Path) -> None:
    scratch = folder / "work"
    scratch.mkdir()
    place = work.prepare(source, flavour, _patches(source, flavour, extras), scratch, tell)
    make = tools.make(place.tree, f"O={place.objects}", *(["LOCALVERSION="] * source.is_tree))
    tell("configuring")
    strict = not source.given and extras == NOTHING
    gone = config.configure(make, place.objects, fragment(flavour), extras.configs, strict)
    if gone:
        steps.console.print(f"  … this source does not know {', '.join(gone)}", markup=False)
    _compile([*make, f"-j{os.cpu_count()}", "Image"], tell, place.fresh)
    for result, name in (("arch/arm64/boot/Image", "Image"), (".config", "config")):
        shutil.copyfile(place.objects / result, folder / name)
    shutil.copyfile(place.objects / "System.map", folder / "System.map")
    shutil.rmtree(scratch)


def _compile(make: list[str], tell: steps.Tell, whole: bool) -> None:
    """Run make, say how far it is where all is built, and on failure name its first error."""
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
                share = f"{min(99, 100 * number // EXPECTED_LINES)} %  " if whole else ""
                tell(f"{share}{line.strip()[-50:]}")
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        reason = tools.first_error(last) or "no error line found"
        raise LackError(f"the lab kernel did not build: {reason} (the whole log: {log})")
