"""Kernel memory of the maps: what is said, and what is refused, before anything is taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import features, libbpf
from nvscope.probes.points import loader, mapmemory
from nvscope.probes.points.sizes import DEFAULT_MAX_VMS, Sizes
from tests.unit.probes.pins.fakes import make_maps

GIB, MIB = 1 << 30, 1 << 20
# Of DEFAULT_MAX_VMS.
FULL = 35_913_728


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return host(tmp_path, total=64 * GIB, available=32 * GIB)


def host(folder: Path, total: int, available: int) -> Path:
    """A /proc of a host with so many bytes of memory."""
    (folder / "meminfo").write_text(
        f"MemTotal:       {total >> 10} kB\nMemFree:        1 kB\n"
        f"MemAvailable:   {available >> 10} kB\nHugePages_Total:       0\n"
    )
    return folder


def memlock(fd: int) -> int:
    """What the kernel says that a map takes, in bytes."""
    [said] = re.findall(r"^memlock:\s+(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.M)
    return int(said)


@pytest.mark.parametrize("vms", [100, DEFAULT_MAX_VMS, 3000])
def test_it_is_what_the_kernel_says(vms: int) -> None:
    """But for what does not grow with VMs: the kernel's own of each map, and the small maps."""
    for maps in make_maps(Sizes(vms)):
        taken = sum(memlock(fd) for fd in maps.fds.values())
        assert 0 <= taken - mapmemory.use(Sizes(vms)).at_once <= 48 << 10


def test_states_of_shadow_mmus_take_more_when_there_are_some() -> None:
    for maps in make_maps(Sizes(1)):
        before = memlock(maps.fds["mmu_index"])
        for number in range(1, 65):
            maps.shadow(number, VmKey(1, 2))
        grown = memlock(maps.fds["mmu_index"]) - before
        use = mapmemory.use(Sizes(1))
        assert 0 < grown <= use.full - use.at_once


def test_it_does_not_depend_on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "possible_cpus", lambda: 4096)
    assert mapmemory.use(Sizes(DEFAULT_MAX_VMS)).full == FULL


def test_a_million_vms(proc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LackError) as caught:
        mapmemory.require(Sizes(1_000_000), proc)
    said = caught.value.message
    assert said.startswith("the maps for --max-vms 1000000 take 27,683 MiB of the kernel's memory")
    assert "more than a quarter of the 32,768 MiB that this host has left; give at most " in said
    most = int(said.rpartition(" ")[2])
    assert capsys.readouterr().err == ""
    mapmemory.require(Sizes(most), proc)
    with pytest.raises(LackError):
        mapmemory.require(Sizes(most + 1), proc)


def test_what_is_taken_at_once_must_be_free(tmp_path: Path) -> None:
    tight = host(tmp_path, total=1024 * GIB, available=512 * MIB)
    words = "take 280 MiB of the kernel's memory at once, more than a quarter of the 512 MiB that"
    with pytest.raises(LackError, match=words):
        mapmemory.require(Sizes(10_000), tight)


def test_what_they_may_grow_to_must_be_there(tmp_path: Path) -> None:
    small = host(tmp_path, total=4 * GIB, available=4 * GIB)
    words = "can grow to 1,072 MiB of the kernel's memory, more than a quarter of the 4,096 MiB"
    with pytest.raises(LackError, match=words):
        mapmemory.require(Sizes(32_000), small)


def test_much_is_said_in_one_line(proc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapmemory.require(Sizes(20_000), proc)
    assert capsys.readouterr().err == (
        "nvscope: the maps take 561 MiB of the kernel's memory, and up to 678 MiB with the"
        " counts of 20000 VMs (--max-vms)\n"
    )


@pytest.mark.parametrize("vms", [1, DEFAULT_MAX_VMS])
def test_what_most_have_is_neither_said_nor_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vms: int
) -> None:
    mapmemory.require(Sizes(vms), host(tmp_path, total=GIB, available=MIB))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", [None, "", "MemTotal: many kB\n", "MemTotal:       1 kB\n"])
def test_a_host_that_does_not_say(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert mapmemory.read_memory(tmp_path) is None
    mapmemory.require(Sizes(1_000_000), tmp_path)


def test_nothing_is_read_or_compiled_for_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "require_tracing", lambda host: None)
    monkeypatch.setattr(mapmemory, "read_memory", lambda proc: mapmemory.Memory(GIB, GIB))
    monkeypatch.setattr(loader, "Btf", lambda: pytest.fail("it went on"))
    with pytest.raises(LackError, match=r"--max-vms 1000000 .*give at most"):
        loader.load(max_vms=1_000_000)
