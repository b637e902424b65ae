"""A host for doctor to look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.probes.commands.doctor.host import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)
