"""How programs are taken from their functions, with a module that only says what it was told."""

from __future__ import annotations

import os

import pytest

from nvscope.probes.points import module as modules


class FakeBpf:
    """What of bcc.BPF is used to detach."""

    def __init__(self, done: list[object]) -> None:
        self.kfunc_entry_fds = {b"kfunc__vmlinux__f": 3}
        self.kfunc_exit_fds = {b"kretfunc__vmlinux__f": 4}
        self.done = done

    def detach_kfunc(self, name: bytes) -> None:
        self.done.append(name)
        del self.kfunc_entry_fds[name]

    def detach_kretfunc(self, name: bytes) -> None:
        self.done.append(name)
        del self.kfunc_exit_fds[name]


def test_ends_are_detached_before_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(os, "close", done.append)
    links = {"g_entry": 5, "g_exit": 6, "h_entry": 7}
    module = modules.Module(FakeBpf(done), 8, own=links)
    with monkeypatch.context() as quiet:
        quiet.setattr(modules, "Quiet", NoQuiet)
        module.detach()
        assert done[:2] == [b"kretfunc__vmlinux__f", 6]
        assert set(done[2:]) == {5, 7, b"kfunc__vmlinux__f"}
        module.detach()
    assert len(done) == 5


class NoQuiet:
    """Closes nothing."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
