"""What setup.cfg cannot say: which packages there are, and what the commands say of themselves."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# These folders lie at the top of the checkout and are imported as nvscope.*. mypy knows no
# package_dir, only folders: for it, the Makefile links them as they are imported.
SUBPACKAGES = {f"nvscope.{name}": name for name in ("probes", "exporter", "analysis", "lab")}
# Below the prefix, where each shell looks.
COMPLETION = {
    "bash": "share/bash-completion/completions/nvscope",
    "zsh": "share/zsh/site-functions/_nvscope",
    "fish": "share/fish/vendor_completions.d/nvscope.fish",
}


def packages() -> Iterator[str]:
    """All folders with an __init__.py."""
    yield from find_packages(include=["nvscope", "nvscope.*"])
    for name, folder in SUBPACKAGES.items():
        yield name
        yield from (f"{name}.{each}" for each in find_packages(folder))


class BuildPy(build_py):
    """Also has the commands that were built write their manual pages and completion."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        # Modules of an earlier build, which are gone or elsewhere now, would be packed too.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        share = Path(self.get_finalized_command("build").build_base, "share")
        self.distribution.data_files += written(Path(self.build_lib), share)


def written(modules: Path, share: Path) -> Iterator[tuple[str, list[str]]]:
    """Folder below the prefix -> files that are now in `share`; modules: the built package's."""
    pages = nvscope(modules, "man", str(share / "man1"))
    yield "share/man/man1", pages.splitlines()
    for shell, place in COMPLETION.items():
        path = share / shell / Path(place).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(nvscope(modules, "completion", shell))
        yield str(Path(place).parent), [str(path)]


def nvscope(modules: Path, *words: str) -> str:
    """What a command prints."""
    path = [str(modules.absolute()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    # -P: not from the checkout, whose folder nvscope lacks the others.
    done = subprocess.run(
        [sys.executable, "-P", "-B", "-m", "nvscope", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"nvscope {words[0]} failed: is all here that setup.cfg requires?")
    return done.stdout


setup(package_dir=SUBPACKAGES, packages=[*packages()], cmdclass={"build_py": BuildPy})
