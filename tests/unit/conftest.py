"""What tests of more than one module stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from tests.unit.exporter.fakes import FakeProc
from tests.unit.probes.pins.fakes import FakeLoaded, make_loaded, mounted

# How long an example takes says how busy the machine is, and nothing else.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    """A /proc of our own, without processes."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    return FakeProc(tmp_path / "proc")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lab's cache: a folder that is not there yet."""
    monkeypatch.setenv("NVSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A BPF file system of our own; the test is skipped where none can be had."""
    yield from mounted(tmp_path / "bpf")


@pytest.fixture
def loaded() -> Iterator[FakeLoaded]:
    """What a loader hands over, with real maps; the test is skipped where none can be had."""
    yield from make_loaded()
