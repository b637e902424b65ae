"""Byte code of the guest's Python modules: without it the first import takes half a minute more.

It is the same for every architecture. So Debian's Python of the guest's version makes it here, out
of a folder and with the C library that belongs to it: nothing is emulated, nothing installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from nvscope.lab.setup.apt import Apt, native_architecture
from nvscope.probes.errors import LackError

PYTHON = "3.13"  # of Debian 13
SUITE = "trixie"
# The interpreter with what it is linked against; the modules it needs are the guest's.
PACKAGES = (f"python{PYTHON}-minimal", "libc6", "libexpat1", "zlib1g")
LIBRARIES = ("usr/lib/python3", f"usr/lib/python{PYTHON}")
# What nothing imports, as a pattern of compileall.
LEFT_OUT = r"/(tests?|idlelib|ensurepip|pydoc_data|_pyrepl|turtledemo)/"
# Where sshd tells the guest's Python to look (setup/rootfs.py).
CACHE = "var/cache/python"


def fetch(into: Path) -> None:
    """Unpack the interpreter into a folder. Raises LackError."""
    apt = Apt("python", native_architecture(), (SUITE,))
    apt.update()
    for package in PACKAGES:
        deb = apt.download_only(package, into)
        subprocess.run(["dpkg", "-x", deb, into], check=True)
        deb.unlink()


def compile_all(root: Path, interpreter: Path) -> None:
    """Compile the modules below a guest's root into its CACHE. interpreter: what `fetch` unpacked.

    Raises LackError where nothing was compiled.
    """
    root, made = root.resolve(), root.parent / "bytecode"
    command = [
        *_python(interpreter), "-S", "-m", "compileall", "-q", "-x", LEFT_OUT,
        "-s", str(root), "-p", "/", *(str(root / library) for library in LIBRARIES),
    ]  # fmt: skip
    environment = {"PYTHONHOME": str(root / "usr"), "PYTHONPYCACHEPREFIX": str(made.resolve())}
    # A module that does not compile is no reason to stop: none of ours is like that.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    below = made.joinpath(*root.parts[1:])
    if not (below / "usr").is_dir():
        raise LackError(f"the guest's Python modules were not compiled: {_last(done.stderr)}")
    (root / CACHE).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(below, root / CACHE)
    shutil.rmtree(made)


def _python(interpreter: Path) -> list[str]:
    """The command line that runs it with its own C library, whatever this machine's is."""
    loaders = sorted(interpreter.glob("usr/lib/*/ld-linux-*.so.*"))
    if not loaders:
        raise LackError("Debian's package libc6 has no dynamic loader where it should be")
    program = interpreter / f"usr/bin/python{PYTHON}"
    return [str(loaders[0]), "--library-path", str(loaders[0].parent), str(program)]


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
