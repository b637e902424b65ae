"""`nvscope top` and `nvscope probe` on a real terminal, with keys and signals; no kernel."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal

PROGRAM = Path(__file__).with_name("on_terminal.py")
SECONDS = 20
OTHER_SCREEN, OWN_SCREEN, CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
CTRL_C, CTRL_Z, ESCAPE = "\x03", "\x1a", "\x1b"


def start(what: str, **environment: str) -> Terminal:
    command = [sys.executable, str(PROGRAM), what]
    return Terminal(command, environment={"PYTHONPATH": ".", **environment})


@pytest.fixture
def top() -> Iterator[Terminal]:
    with start("top") as terminal:
        terminal.before = terminal.settings()  # type: ignore[attr-defined]
        terminal.await_text("alpha", SECONDS)
        yield terminal


def assert_restored(terminal: Terminal) -> None:
    assert terminal.settings() == terminal.before  # type: ignore[attr-defined]
    assert terminal.raw.rindex(OWN_SCREEN) > terminal.raw.rindex(OTHER_SCREEN)
    assert terminal.raw.rindex(CURSOR) > terminal.raw.rindex(OTHER_SCREEN)


def await_rows(terminal: Terminal, *names: str) -> None:
    """Wait until it has just these; what is above them is drawn first."""

    def fits(screen: str) -> bool:
        return re.findall(r"^ (alpha|beta) ", screen, re.MULTILINE) == list(names)

    terminal.await_screen(fits, SECONDS, f"rows {names}")


def test_keys(top: Terminal) -> None:
    assert "locked/s↓" in top.text()
    await_rows(top, "alpha", "beta")
    top.await_match(r"alpha +[\d.]+ +50 % .* broken \d+", SECONDS)
    top.type("r")
    top.await_text("locked/s↑", SECONDS)
    await_rows(top, "beta", "alpha")
    top.type("s")
    top.await_text("unmaps/s↑", SECONDS)
    top.type("/bet")
    top.await_text("filter: bet_", SECONDS)
    top.type("x\x7fa\n")
    top.await_text("filter 'beta'", SECONDS)
    await_rows(top, "beta")
    top.type("/zzz" + ESCAPE)
    top.await_text("q quit", SECONDS)
    await_rows(top, "beta")
    top.type("p")
    paused = top.await_text("PAUSED", SECONDS)
    top.type("p")
    top.await_match("filter 'beta'\n", SECONDS)
    assert paused.count("\n") == 23
    top.type("\x1b[A")  # an arrow is no Esc and no A
    top.type("q")
    assert top.wait(SECONDS) == 0
    assert b"ended in order" in top.raw
    assert_restored(top)


@pytest.mark.parametrize("how", [CTRL_C, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_all_ends_restore_the_terminal(top: Terminal, how: str | int) -> None:
    if isinstance(how, str):
        top.type(how)
    else:
        os.kill(top.pid, how)
    assert top.wait(SECONDS) == 0
    assert b"ended in order" in top.raw
    assert_restored(top)


def test_ctrl_z_gives_the_terminal_back_meanwhile(top: Terminal) -> None:
    top.type(CTRL_Z)
    os.waitid(os.P_PID, top.pid, os.WSTOPPED)
    top.await_bytes(OWN_SCREEN, 1, SECONDS)
    assert_restored(top)
    os.kill(top.pid, signal.SIGCONT)
    top.await_bytes(OTHER_SCREEN, 2, SECONDS)
    top.type("q")
    assert top.wait(SECONDS) == 0
    assert_restored(top)


@pytest.mark.parametrize("how", [CTRL_C, signal.SIGTERM])
def test_a_probe_ends_with_its_summary(how: str | int) -> None:
    with start("probe") as terminal:
        terminal.await_text("(Ctrl-C ends it)", SECONDS)
        terminal.await_text("|***", SECONDS)
        if isinstance(how, str):
            terminal.type(how)
        else:
            os.kill(terminal.pid, how)
        assert terminal.wait(SECONDS) == 0
        screen = terminal.text()
        assert "Ctrl-C ends it" not in screen  # the live table has made room
        assert re.search(r"notifier_unmap: \d+ calls in \d+\.\d s, none lost", screen)
        assert "vm=beta" in screen
        assert CURSOR in terminal.raw


def test_no_colour() -> None:
    with start("probe", NO_COLOR="1") as terminal:
        terminal.await_text("alpha", SECONDS)
        assert not re.search(rb"\x1b\[[\d;]*3\d", terminal.raw)
