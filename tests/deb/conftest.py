"""The Debian package of this checkout, built once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deb import packages


@pytest.fixture(scope="session")
def package() -> Path:
    """The .deb, as `make deb` makes it."""
    done = subprocess.run(
        ["sh", packages.BUILD], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return packages.ROOT / done.stdout.splitlines()[-1]
