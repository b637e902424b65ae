"""Byte code for the guest's Python, made by one of its version on this machine."""

from __future__ import annotations

import importlib.util
import marshal
import sys
from pathlib import Path

import pytest

from nvscope.lab.setup import bytecode
from nvscope.probes.errors import LackError

MODULES = "usr/lib/python3"


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """A dynamic loader that runs this machine's Python, whatever it is told to load."""
    loader = tmp_path / "python/usr/lib/some-linux-gnu/ld-linux-some.so.1"
    loader.parent.mkdir(parents=True)
    loader.write_text(f'#!/bin/sh\nshift 3\nunset PYTHONHOME\nexec {sys.executable} "$@"\n')
    loader.chmod(0o755)
    return tmp_path / "python"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in (MODULES, f"usr/lib/python{bytecode.PYTHON}", f"{MODULES}/rich/tests"):
        (root / name).mkdir(parents=True)
    return root


def compiled(root: Path, module: str) -> Path:
    """Where a guest with this Python looks for a module's byte code."""
    source = f"/{bytecode.CACHE}/{MODULES}/{module}.py"
    place = Path(importlib.util.cache_from_source(source)).relative_to("/")
    return root / place.parent.parent / place.name


def test_a_module_has_its_byte_code_where_the_guest_looks(root: Path, interpreter: Path) -> None:
    source = root / MODULES / "click.py"
    source.write_text("def echo(): pass\n")
    bytecode.compile_all(root, interpreter)
    data = compiled(root, "click").read_bytes()
    assert data[:4] == importlib.util.MAGIC_NUMBER
    # It is good as long as its source has this time and size: import.c.
    assert int.from_bytes(data[8:12], "little") == int(source.stat().st_mtime)
    assert int.from_bytes(data[12:16], "little") == source.stat().st_size
    # What tracebacks say is the place in the guest.
    assert marshal.loads(data[16:]).co_filename == f"/{MODULES}/click.py"
    assert sorted(path.name for path in root.parent.iterdir()) == ["python", "root"]


def test_what_does_not_compile_does_not_matter(root: Path, interpreter: Path) -> None:
    (root / MODULES / "good.py").write_text("x = 1\n")
    (root / MODULES / "template.py").write_text("x = {{ x }}}\n")
    (root / MODULES / "rich/tests/test_x.py").write_text("x = 1\n")
    bytecode.compile_all(root, interpreter)
    assert compiled(root, "good").exists()
    assert not compiled(root, "template").exists()
    assert not compiled(root, "rich/tests/test_x").exists()


def test_where_nothing_compiles_that_is_an_error(root: Path, interpreter: Path) -> None:
    with pytest.raises(LackError, match="were not compiled"):
        bytecode.compile_all(root, interpreter)


def test_a_package_without_a_loader_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(LackError, match="no dynamic loader"):
        bytecode.compile_all(root, tmp_path / "empty")
