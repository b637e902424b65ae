"""Kernel settings: ours and a user's, what a source drops of them, and what a lab cannot lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.lab.kernel.building import build, config
from nvscope.probes.errors import InputError, LackError

OURS = config.settings(build.fragment("lab"))
MINE = Path("mine.config")


def without(*names: str, **others: str) -> config.Settings:
    return {k: v for k, v in OURS.items() if k not in names} | others


def test_what_a_lab_needs_is_asked_for() -> None:
    assert set(config.REQUIRED) <= OURS.keys()
    assert config.lacking(OURS) == []


def test_of_a_users_source_what_is_dropped_is_told_and_not_fatal() -> None:
    names = ("CONFIG_KVM_NESTED_REVMAP_BUGS", "CONFIG_KSM")
    gone = config.checked(OURS, {}, without(*names), strict=False)
    assert gone == ["CONFIG_KSM=y", "CONFIG_KVM_NESTED_REVMAP_BUGS=y"]


def test_of_our_own_source_it_is_fatal() -> None:
    with pytest.raises(LackError, match=r"drops settings of ours: CONFIG_KSM=y$"):
        config.checked(OURS, {}, without("CONFIG_KSM"), strict=True)


@pytest.mark.parametrize("name", config.REQUIRED)
def test_what_a_lab_needs_is_fatal_by_name(name: str) -> None:
    with pytest.raises(LackError, match=f"cannot work without {name}, "):
        config.checked(OURS, {}, without(name), strict=False)


def test_a_user_may_turn_off_what_a_lab_does_not_need() -> None:
    mine = {MINE: config.settings("# CONFIG_KSM is not set\nCONFIG_ZRAM=n\n")}
    assert config.checked(OURS, mine, without("CONFIG_KSM", "CONFIG_ZRAM"), strict=False) == []
    with pytest.raises(LackError, match="CONFIG_KVM, "):
        config.checked(OURS, {MINE: {"CONFIG_KVM": "n"}}, without("CONFIG_KVM"), strict=False)


@pytest.mark.parametrize(
    ("asked", "has"), [({"CONFIG_X": "y"}, {}), ({"CONFIG_KSM": "n"}, {"CONFIG_KSM": "y"})]
)
def test_a_users_setting_that_is_dropped_is_an_error(
    asked: config.Settings, has: config.Settings
) -> None:
    with pytest.raises(InputError, match=r"drops settings of mine\.config: CONFIG_(X=y|KSM=n)$"):
        config.checked(OURS, {MINE: asked}, without(**has), strict=False)


def test_the_last_fragment_counts() -> None:
    theirs = {MINE: {"CONFIG_KSM": "n"}, Path("more.config"): {"CONFIG_KSM": "y"}}
    assert config.checked(OURS, theirs, OURS, strict=False) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CONFIG_KSM=y\nKASAN=y\n", "line 2: 'KASAN=y' is no setting"),
        ("CONFIG_TUN=m\n", r"line 1: CONFIG_TUN=m \(the lab builds no modules: say =y\)"),
    ],
)
def test_a_fragment_that_will_not_do(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.config"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        config.read(path)


def test_a_fragment_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.config"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="it is no text"):
        config.read(path)
    with pytest.raises(InputError, match="No such file"):
        config.read(tmp_path / "none.config")
