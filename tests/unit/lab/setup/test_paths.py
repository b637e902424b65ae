"""Which folder the guest gets its code from."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.lab.setup import paths


def test_a_checkout_called_nvscope(tmp_path: Path) -> None:
    checkout = tmp_path / "nvscope"
    (checkout / "lab").mkdir(parents=True)
    (checkout / "setup.cfg").touch()
    assert paths._source_root(checkout / "lab") == checkout


def test_an_installed_wheel(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "nvscope"
    (package / "lab").mkdir(parents=True)
    assert paths._source_root(package / "lab") == tmp_path / "site-packages"


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NVSCOPE_CACHE", raising=False)
    assert paths.cache_dir() == tmp_path / "nvscope"
    monkeypatch.setenv("NVSCOPE_CACHE", "/elsewhere")
    assert paths.cache_dir() == Path("/elsewhere")
