"""Web configurations: what the unit tests' table says of other exporters, promtool says too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trustme

from nvscope.lab.setup.prometheus import unpack
from tests.unit.exporter.web.certificates import issue
from tests.unit.exporter.web.settings.configs import CASES, Case


@pytest.fixture(scope="module")
def promtool() -> Path:
    return unpack() / "promtool"


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.elsewhere is not None], ids=lambda case: case.name
)
def test_what_others_say_of(tmp_path: Path, promtool: Path, case: Case) -> None:
    authority = trustme.CA()
    issue(authority, tmp_path)
    authority.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    path = tmp_path / "web.yml"
    path.write_bytes(case.text.encode())
    done = subprocess.run(
        [promtool, "check", "web-config", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == case.elsewhere, done.stdout + done.stderr
