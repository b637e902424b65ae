"""What long work says of itself: a line a step, also of several at once."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from nvscope.lab.setup import steps


def console(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> StringIO:
    out = StringIO()
    made = Console(file=out, force_terminal=terminal, width=80, soft_wrap=True, highlight=False)
    monkeypatch.setattr(steps, "console", made)
    return out


@pytest.mark.parametrize("terminal", [True, False])
def test_steps_may_overlap(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = console(monkeypatch, terminal=terminal)
    first, second = steps.step("first"), steps.step("second")
    first.__enter__()("half")
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    with steps.step("third"):
        pass
    for title in ("first", "second", "third"):
        assert f"made\x1b[0m   {title}" in out.getvalue() or f"made   {title}" in out.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_what_looks_like_markup_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    out = console(monkeypatch, terminal=terminal)
    monkeypatch.setattr(steps.time, "monotonic", iter(range(0, 10**6, 30)).__next__)
    with steps.step("kernel") as tell:
        tell("CC [M] fs/[/x]/inode.o")
    if not terminal:
        assert "  … kernel: CC [M] fs/[/x]/inode.o" in out.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_note_is_of_what_is_under_way(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = console(monkeypatch, terminal=terminal)
    with steps.step("kernel", "(6 min left)"):
        pass
    under_way, _, made = out.getvalue().partition("made")
    assert "kernel (6 min left)" in under_way
    assert "kernel" in made and "min left" not in made


def test_what_is_cached_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    out = console(monkeypatch, terminal=False)
    monkeypatch.setattr(steps, "_said", set())
    for title in ("tools", "kernel", "tools"):
        steps.cached(title)
    assert out.getvalue().splitlines() == ["cached tools", "cached kernel"]


def test_a_step_that_fails_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    out = console(monkeypatch, terminal=True)
    with pytest.raises(ValueError, match="broken"), steps.step("kernel"):
        raise ValueError("broken")
    assert "made" not in out.getvalue()
    assert steps._board._status is None
