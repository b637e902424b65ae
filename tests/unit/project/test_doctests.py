"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import nvscope.analysis
import nvscope.cli
import nvscope.exporter
import nvscope.lab
import nvscope.probes

COMMAND = Path(nvscope.cli.__file__).parent
SUBPACKAGES = (nvscope.probes, nvscope.exporter, nvscope.analysis, nvscope.lab)


def modules() -> Iterator[str]:
    yield from (f"nvscope.{path.stem}" for path in COMMAND.glob("*.py") if path.stem[0] != "_")
    for subpackage in SUBPACKAGES:
        for found in pkgutil.walk_packages(subpackage.__path__, f"{subpackage.__name__}."):
            yield found.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_doctests(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
