"""The package on a fresh Debian: installed, used, removed, purged, upgraded; nothing is left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import nvscope
from tests.deb import packages, roots

# The oldest that has all of it; Debian 12 can but build the package (test_build.py).
SUITES = ("trixie",)
DEFAULTS = "/etc/default/nvscope"
# As a login shell does when Tab is first pressed after the command.
COMPLETION = """bash -c '
. /usr/share/bash-completion/bash_completion
if type _comp_load > /dev/null 2>&1; then _comp_load nvscope; else _completion_loader nvscope; fi
COMP_WORDS=(nvscope va) COMP_CWORD=1
complete -p nvscope && _nvscope_completion nvscope && echo "${COMPREPLY[@]}"'
"""


@pytest.fixture(scope="module", params=SUITES)
def root(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, package: Path
) -> Iterator[roots.Root]:
    """A fresh root with all that the package depends on, and the package at /new.deb."""
    path = tmp_path_factory.mktemp(request.param) / "root"
    for made in roots.make(request.param, path, "man-db", "bash-completion", "zsh"):
        shutil.copyfile(package, path / "new.deb")
        shutil.copyfile(packages.as_version(package, "0.0.9"), path / "old.deb")
        made.apt(f"satisfy '{packages.field(package, 'Depends')}'")
        yield made


@pytest.fixture
def left(root: roots.Root) -> Iterator[None]:
    """What was there before a test is there after it, and no more."""
    before, groups = root.files(), root.do("getent group | sort")
    yield
    root.apt("purge nvscope")
    assert root.files() == before
    assert root.do("getent group | sort") == groups


@pytest.mark.usefixtures("left")
def test_what_is_installed_works(root: roots.Root) -> None:
    said = root.apt("install ./new.deb")
    assert "0 upgraded, 1 newly installed" in said
    assert root.do("nvscope --version") == f"nvscope, version {nvscope.__version__}\n"
    assert "NAME" in root.do("man nvscope-record | cat")
    assert "nvscope-lab-boot" in root.do("man -w nvscope-lab-boot")
    assert "validate" in root.do(COMPLETION)
    assert "nvscope" in root.do("zsh -c 'autoload -U compinit; compinit -u -D; echo $_comps'")
    assert root.do("dpkg --verify nvscope") == ""
    assert root.do("getent group nvscope")
    wanted = root.do("find /etc/systemd -name '*nvscope*'")
    assert wanted == "", "nothing starts by itself"


@pytest.mark.usefixtures("left")
def test_what_the_machine_lacks_is_said(root: roots.Root) -> None:
    root.apt("install ./new.deb")
    doctor = root.run("nvscope doctor")
    assert doctor.returncode == 3
    assert "Traceback" not in doctor.stdout + doctor.stderr
    for command in ("load", "export", "record x.arrows", "validate x.arrows"):
        done = root.run(f"cd /tmp && touch x.arrows && nvscope {command}")
        assert done.returncode in (2, 3), f"{command}: {done.stderr}"
        assert len(done.stderr.splitlines()) == 1, f"{command}: {done.stderr}"


@pytest.mark.usefixtures("left")
def test_removed_and_installed_again(root: roots.Root) -> None:
    root.apt("install ./new.deb")
    root.do(f"echo NVSCOPE_LOAD=--strict > {DEFAULTS}")
    root.apt("remove nvscope")
    assert not (root.path / "usr/bin/nvscope").exists()
    assert not (root.path / packages.MODULES).exists()
    root.apt("install ./new.deb")
    assert root.do(f"cat {DEFAULTS}") == "NVSCOPE_LOAD=--strict\n"
    assert root.run("nvscope --version").returncode == 0


@pytest.mark.usefixtures("left")
def test_an_upgrade_keeps_what_was_changed(root: roots.Root) -> None:
    root.apt("install ./old.deb")
    assert root.do("nvscope --version") == "nvscope, version 0.0.9\n"
    root.do(f"echo NVSCOPE_LOAD=--strict > {DEFAULTS}")
    said = root.apt("install ./new.deb")
    assert "1 upgraded" in said
    assert root.do("nvscope --version") == f"nvscope, version {nvscope.__version__}\n"
    assert root.do(f"cat {DEFAULTS}") == "NVSCOPE_LOAD=--strict\n"
