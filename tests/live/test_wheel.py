"""The wheel: what is in it, and what it brings, as pip makes it of a clone and of an sdist."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

import nvscope
from nvscope.cli import main
from nvscope.completion import SHELLS
from nvscope.lab.setup.paths import source_root
from nvscope.man import pages
from tests.live import wheels

PAGES = dict(pages(main, "nvscope"))
DATA = f"nvscope-{nvscope.__version__}.data/data/"
# What is for readers of the checkout alone, and not yet there when the wheel is made.
NOT_SHIPPED = {"README.md", "install-python.sh", "samples", "__pycache__"}
COMPLETION = {
    "bash": "share/bash-completion/completions/nvscope",
    "zsh": "share/zsh/site-functions/_nvscope",
    "fish": "share/fish/vendor_completions.d/nvscope.fish",
}
TAB = f"""
. {COMPLETION["bash"]}
COMP_WORDS=(nvscope va) COMP_CWORD=1
_nvscope_completion nvscope && echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout without what it has built, but for a module that is there no more."""
    folder = tmp_path_factory.mktemp("wheel") / "source"
    without = shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info")
    shutil.copytree(source_root(), folder, ignore=without)
    (folder / "build/lib/nvscope/probes").mkdir(parents=True)
    (folder / "build/lib/nvscope/probes/gone.py").touch()
    return folder


@pytest.fixture(scope="module")
def wheel(clone: Path) -> Path:
    return wheels.make(clone, clone.parent / "wheels")


@pytest.fixture(scope="module")
def prefix(wheel: Path) -> Path:
    """A virtual environment in which it was installed."""
    return wheels.environment(wheel.parents[1] / "prefix", wheel)


def run(folder: Path, *words: str | Path) -> str:
    """What a program prints in an environment that comes first; it must not complain."""
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=60, check=True,
        env={"PATH": f"{folder}/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(folder)},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def test_all_of_the_folders_is_in_it(wheel: Path, clone: Path) -> None:
    files = {path.relative_to(clone) for path in (clone / "nvscope").iterdir()}
    for subpackage in ("probes", "exporter", "analysis", "lab"):
        found = [path for path in (clone / subpackage).rglob("*") if path.is_file()]
        files |= {"nvscope" / path.relative_to(clone) for path in found}
    wanted = {path.as_posix() for path in files if not NOT_SHIPPED & set(path.parts)}
    assert {name for name in wheels.names(wheel) if name.startswith("nvscope/")} == wanted


def test_a_page_for_each_command_and_completion_for_each_shell(wheel: Path) -> None:
    found = {name.removeprefix(DATA) for name in wheels.names(wheel) if "/share/" in name}
    manual = {f"share/man/man1/{name}.1" for name in PAGES}
    services = {name for name in found if name.startswith("share/nvscope/")}
    assert found - services == {*manual, *COMPLETION.values()}


def test_the_pages_are_found_and_read(prefix: Path) -> None:
    folder = prefix / "share/man/man1"
    assert {path.stem: path.read_text() for path in folder.iterdir()} == PAGES
    if not shutil.which("man"):
        pytest.skip("man-db is not installed")
    for page in folder.iterdir():
        assert run(prefix, "man", "-w", page.stem) == f"{page}\n"
        # As mandb reads it, for apropos.
        assert run(prefix, "lexgrog", page).startswith(f'{page}: "{page.stem} - ')
    assert "EXIT STATUS" in run(prefix, "man", "--warnings", "-l", folder / "nvscope-record.1")


def test_the_shells_get_what_the_command_prints(prefix: Path) -> None:
    assert set(COMPLETION) == set(SHELLS)
    for shell, place in COMPLETION.items():
        assert (prefix / place).read_text() == run(prefix, "nvscope", "completion", shell)
    assert run(prefix, "bash", "-c", TAB) == "validate\n"


def test_an_sdist_makes_the_same_wheel(wheel: Path, clone: Path) -> None:
    tools = wheels.environment(clone.parent / "tools", "setuptools")
    made = wheels.make(wheels.make_sdist(clone, tools / "bin/python"), clone.parent / "again")
    assert wheels.names(made) == wheels.names(wheel)
    with zipfile.ZipFile(made) as one, zipfile.ZipFile(wheel) as other:
        for name in wheels.names(wheel):
            if not name.endswith("/RECORD"):
                assert one.read(name) == other.read(name), name


def test_an_editable_install_has_packages_that_come_later(clone: Path, tmp_path: Path) -> None:
    source = shutil.copytree(clone, tmp_path / "source")
    folder = wheels.environment(tmp_path / "editable", "--no-deps", "-e", source)
    (source / "probes/later").mkdir()
    (source / "probes/later/__init__.py").write_text("")
    code = "import nvscope.lab.setup.paths as p, nvscope.probes.later as l; print(p.__file__)"
    assert run(folder, "python", "-c", code) == f"{source}/lab/setup/paths.py\n"
