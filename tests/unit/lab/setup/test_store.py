"""The cache: an artifact appears whole, once, or not at all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from nvscope.lab.setup import store

pytestmark = pytest.mark.usefixtures("cache")


def test_made_once_and_then_found() -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "result").write_text("whole")

    first = store.artifact("kind", "key", make)
    assert store.artifact("kind", "key", make) == first
    assert len(made) == 1
    assert (first / "result").read_text() == "whole"


def test_a_failed_build_leaves_nothing(cache: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="no disk"):
        store.artifact("kind", "key", make)
    assert list((cache / "kind").iterdir()) == []


def test_what_a_killed_build_left_is_thrown_away(cache: Path) -> None:
    left = cache / "kind" / "key.partial"
    left.mkdir(parents=True)
    (left / "stale").touch()
    folder = store.artifact("kind", "key", lambda new: (new / "fresh").touch())
    assert [path.name for path in folder.iterdir()] == ["fresh"]


def test_two_at_once_build_once() -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.2)

    threads = [
        threading.Thread(target=store.artifact, args=("kind", "key", make)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_the_key_tells_inputs_apart(tmp_path: Path) -> None:
    file = tmp_path / "fragment"
    file.write_text("CONFIG_KVM=y\n")
    before = store.digest("7.3.4", file)
    file.write_text("CONFIG_KVM=n\n")
    assert store.digest("7.3.4", file) != before
