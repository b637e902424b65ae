"""Libraries' chatter is set aside, and its telling line found."""

from __future__ import annotations

import ctypes
import doctest
import os

import pytest

from nvscope.probes.points import quiet
from nvscope.probes.points.quiet import Quiet, first_useful_line

VERIFIER = """\
bpf: Failed to load program: Permission denied
0: R1=ctx() R10=fp0
; x @ nvscope.h:1
1: (79) r0 = *(u64 *)(r1 +8)
func 'user_mem_abort' doesn't have 1-th argument
invalid bpf_context access off=8 size=8
processed 2 insns (limit 1000000)
"""


def test_stderr_is_set_aside_and_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with Quiet() as aside:
        os.write(2, b"libbpf: chatter\n")
        assert aside.text() == "libbpf: chatter\n"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_buffered_stdout_of_c_libraries_too(capfd: pytest.CaptureFixture[str]) -> None:
    with Quiet() as aside:
        ctypes.CDLL(None).puts(b"Unable to find kernel headers.")
        assert aside.text() == "Unable to find kernel headers.\n"
    assert capfd.readouterr().out == ""


def test_the_verifiers_reason_is_found() -> None:
    assert first_useful_line(VERIFIER) == "invalid bpf_context access off=8 size=8"


def test_silence_has_a_line_too() -> None:
    assert first_useful_line("\n") == "no reason given"


def test_examples() -> None:
    assert doctest.testmod(quiet).failed == 0
