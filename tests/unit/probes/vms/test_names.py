"""VM names out of command lines, the hostile ones too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.probes.vms import names


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["-name", "guest=db,debug-threads=on"], "db"),
        (["-name", "db"], "db"),
        (["-name", "db,process=qemu:db"], "db"),
        (["-name", "process=x,guest=db"], "db"),
        (["--name", "db"], "db"),
        (["--name=db"], "db"),
        (["-name=guest=db"], "db"),
        (["-name", "a", "-name", "b"], "b"),
        (["-name", "a,,b"], "a,b"),
        (["-name", "key=value"], "key=value"),
        (["-name", "debug-threads=on"], "vmm"),
        (["-name"], "vmm"),
        (["-name", ""], "vmm"),
        (["-name", " \t"], "\ufffd"),
        (["-names", "db"], "vmm"),
        ([], "vmm"),
    ],
)
def test_name_by_command_line(arguments: list[str], name: str) -> None:
    assert names.vm_name(["qemu-system-aarch64", *arguments], "vmm") == name


def test_the_command_itself_is_no_option() -> None:
    assert names.vm_name(["-name", "db"], "vmm") == "vmm"


def test_nothing_known() -> None:
    assert names.vm_name([], "") == "unnamed"


# Command lines as the kernel gives them: any bytes without NUL, decoded as psutil does.
_words = (
    st.binary(max_size=300)
    .map(lambda b: b.replace(b"\0", b""))
    .map(lambda b: b.decode(errors="surrogateescape"))
)


@given(_words, _words)
def test_any_bytes_make_a_safe_name(name: str, command: str) -> None:
    label = names.vm_name(["vmm", "-name", name], command)
    assert 0 < len(label) <= names.NAME_LIMIT
    assert label.isprintable()
    label.encode()  # no surrogates


@given(st.lists(_words, max_size=6))
def test_any_command_line_makes_a_name_and_a_uuid(cmdline: list[str]) -> None:
    assert names.vm_name(cmdline, "vmm")
    assert len(names.vm_uuid(cmdline)) in (0, 36)


@given(st.text(min_size=1, max_size=names.NAME_LIMIT), st.lists(st.integers(1, 9), max_size=9))
def test_distinct_labels(name: str, pids: list[int]) -> None:
    taken: set[str] = set()
    for pid in pids:
        label = names.distinct(name, pid, taken)
        assert label not in taken
        assert len(label) <= names.NAME_LIMIT
        taken.add(label)
