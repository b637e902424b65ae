"""Files with addresses of the kernel in them are for their owner alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.analysis.interop.cli import convert
from nvscope.probes.traces import private
from tests.unit.analysis.report.story import story, written


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("before", [None, 0o644, 0o400])
def test_new_and_overwritten(tmp_path: Path, before: int | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.touch(mode=before)
    if before == 0o400 and os.geteuid():
        pytest.skip("only root may write to it")
    with open(path, "wb", opener=private.opener):
        assert mode(path) == 0o600


def test_what_is_no_file_stays_as_it_is() -> None:
    with open(os.devnull, "wb", opener=private.opener):
        assert mode(Path(os.devnull)) == 0o666


@pytest.mark.parametrize("name", ["out.parquet", "out.json"])
def test_traces_in_other_formats(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.arrows").write_bytes(written(story()))
    done = CliRunner().invoke(convert, [str(tmp_path / "in.arrows"), str(tmp_path / name)])
    assert done.exit_code == 0, done.output
    assert mode(tmp_path / name) == 0o600
