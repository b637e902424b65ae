"""The words that users ask for packaged kernels with."""

from __future__ import annotations

import pytest

from nvscope.lab import assets
from nvscope.lab.kernel import names
from nvscope.lab.kernel.names import WantedRelease
from tests.unit.lab.kernel.packages.fake_archive import RELEASES, release


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("stock", WantedRelease(())),
        ("6.18", WantedRelease((6, 18))),
        ("6.18-16k", WantedRelease((6, 18), "16k")),
        ("7.0.13-rt", WantedRelease((7, 0, 13), "rt")),
        ("7.3-cloud", WantedRelease((7, 3), "cloud")),
    ],
)
def test_words(word: str, expected: WantedRelease) -> None:
    assert names.wanted(word) == expected
    assert str(expected) == word


def test_names_of_other_kernels_are_none() -> None:
    for name in ("6.18.15+deb13-amd64", "6.12.107+deb13-arm64-unsigned", "7.4~rc2-arm64", "arm64"):
        assert names.release(name) is None


def test_versions_are_ordered_by_number() -> None:
    found = names.wanted("6.18").among([release(name) for name in reversed(RELEASES)])
    assert [str(each) for each in found] == ["6.18.9", "6.18.15"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("6.18", "6.18.15+deb13-arm64"),
        ("6.18.9", "6.18.9+deb13-arm64"),
        ("6.18-16k", "6.18.15+deb13-arm64-16k"),
        ("7.0-rt", "7.0.13+deb13-rt-arm64"),
        ("stock", "7.3.4+deb13-arm64"),
    ],
)
def test_the_newest_that_will_do(word: str, expected: str) -> None:
    assert assets.identity(word) == expected
