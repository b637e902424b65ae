"""Kernel memory of the maps: what is said, and what is refused, before anything is taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nvscope.probes import features, libbpf, loader, mapmemory, programs
from nvscope.probes.errors import LackError
from nvscope.probes.options import DEFAULT_MAX_VMS
from nvscope.probes.programs import COUNTS, Mode, Probing, Sizes

GIB, MIB = 1 << 30, 1 << 20


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


def test_the_maps_that_grow_with_vms_are_those_that_are_counted() -> None:
    tables = re.findall(r"BPF_F_TABLE\((.*NV_(?:ROWS|MMUS).*)\);", programs.HEADER.read_text())
    assert tables == [
        '"percpu_hash", struct nv_key, struct nv_row, rows, NV_ROWS, BPF_F_NO_PREALLOC',
        '"hash", nv_u64, struct nv_mmu, mmus, NV_MMUS, BPF_F_NO_PREALLOC',
    ]


def test_a_row_has_a_value_for_each_cpu() -> None:
    few, many = (mapmemory.use(Sizes(1000), COUNTS, cpus) for cpus in (1, 65))
    assert few.at_once == many.at_once
    assert many.full - few.full == 64 * 336 * programs.rows(Sizes(1000), COUNTS)
    triggers = Mode(probing=Probing("s2_fault", triggers=True))
    assert mapmemory.use(Sizes(1000), triggers, 1).full > 4 * few.full


def test_a_million_vms(proc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LackError) as caught:
        mapmemory.require(Sizes(1_000_000), COUNTS, 8, proc)
    said = caught.value.message
    assert said.startswith("the maps for --max-vms 1000000 can grow to 73,80")
    assert "more than a quarter of the 65,536 MiB that this host has; give at most " in said
    most = int(said.rpartition(" ")[2])
    assert capsys.readouterr().err == ""
    mapmemory.require(Sizes(most), COUNTS, 8, proc)
    with pytest.raises(LackError):
        mapmemory.require(Sizes(most + 1), COUNTS, 8, proc)


def test_what_is_taken_at_once_must_be_free(tmp_path: Path) -> None:
    tight = host(tmp_path, total=1024 * GIB, available=512 * MIB)
    words = "take 192 MiB of the kernel's memory at once, more than a quarter of the 512 MiB that"
    with pytest.raises(LackError, match=words):
        mapmemory.require(Sizes(100_000), COUNTS, 8, tight)


def test_much_is_said_in_one_line(proc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapmemory.require(Sizes(20_000), COUNTS, 8, proc)
    assert re.fullmatch(
        r"nvscope: the maps take 40 MiB of the kernel's memory, and up to 1,485 MiB with the"
        r" counts of 20000 VMs \(--max-vms\)\n",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize("vms", [1, DEFAULT_MAX_VMS])
def test_what_most_have_is_neither_said_nor_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vms: int
) -> None:
    mapmemory.require(Sizes(vms), COUNTS, 512, host(tmp_path, total=GIB, available=MIB))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", [None, "", "MemTotal: many kB\n", "MemTotal:       1 kB\n"])
def test_a_host_that_does_not_say(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert mapmemory.read_memory(tmp_path) is None
    mapmemory.require(Sizes(1_000_000), COUNTS, 8, tmp_path)


def test_nothing_is_read_or_compiled_for_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "require_tracing", lambda host: None)
    monkeypatch.setattr(libbpf, "possible_cpus", lambda: 4096)
    monkeypatch.setattr(loader, "Btf", lambda: pytest.fail("it went on"))
    with pytest.raises(LackError, match=r"--max-vms 1000000 .*give at most"):
        loader.load(max_vms=1_000_000)
