"""Types of kernels, as files: without a reverse map, and with the lab's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.probes.kernel.btfs import kernel


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return kernel(tmp_path / "btf")


@pytest.fixture
def maple(tmp_path: Path) -> Path:
    return kernel(tmp_path / "maple", revmap="maple")
