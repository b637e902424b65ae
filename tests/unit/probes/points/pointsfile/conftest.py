"""A kernel that needs a points file, and how one is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points.pointsfile.read import PointsFile, read
from tests.unit.probes.points.foreign import foreign_kernel


@pytest.fixture
def foreign(tmp_path: Path) -> Btf:
    """A kernel whose reverse map has names of its own, and values in a struct."""
    return Btf(foreign_kernel(tmp_path / "foreign"))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], PointsFile]:
    def write(text: str) -> PointsFile:
        path = tmp_path / "my.toml"
        path.write_text(text)
        return read(str(path))

    return write
