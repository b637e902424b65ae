"""Ways to take pages: pageout, reclaim of a control group, KSM."""

from __future__ import annotations

import errno
import os
from array import array
from pathlib import Path

import pytest

from nvscope.probes.commands.storm.memory import PAGE_BYTES, GuestMapping
from nvscope.probes.commands.storm.ways import Ksm, Pageout, Reclaim
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import madvise

SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"
SMALL = frozenset({"rd", "wr"})


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with one VM, pid ours, whose memory of 64 pages is all present."""
    folder = tmp_path / "proc" / str(os.getpid())
    folder.mkdir(parents=True)
    (folder / "pagemap").write_bytes(array("Q", [1 << 63] * 64).tobytes())
    (folder / "cgroup").write_text("0::/machine/vm/emulator\n")
    (folder / "ksm_merging_pages").write_text("3\n")
    (tmp_path / "proc/swaps").write_text(SWAPS + "/dev/zram0 partition 524284 0 -2\n")
    return tmp_path / "proc"


def memory(*flags: str) -> list[GuestMapping]:
    return [GuestMapping(0, 64 * PAGE_BYTES, "", SMALL | {*flags})]


@pytest.fixture
def advised(proc: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(first page, pages) of each call; the pages go."""
    calls: list[tuple[int, int]] = []

    def advise(pidfd: int, address: int, size_bytes: int, advice: int) -> int:
        assert advice == madvise.MADV_PAGEOUT
        calls.append((address // PAGE_BYTES, size_bytes // PAGE_BYTES))
        with (proc / str(os.getpid()) / "pagemap").open("r+b") as file:
            file.seek(address // PAGE_BYTES * 8)
            file.write(bytes(size_bytes // PAGE_BYTES * 8))
        return size_bytes

    monkeypatch.setattr(madvise, "advise", advise)
    return calls


def test_pageout_counts_what_went(proc: Path, advised: list[tuple[int, int]]) -> None:
    way = Pageout(os.getpid(), memory(), 8, seed=1, proc=proc)
    taken = sum(way.call() for _ in range(40))
    way.close()
    touched = {first + i for first, count in advised for i in range(count)}
    assert taken == len(touched) > 32
    assert max(touched) <= 63 and {count for _, count in advised} == {8}
    again = Pageout(os.getpid(), memory(), 8, seed=1, proc=proc)
    for _ in range(40):
        assert again.call() == 0
    again.close()
    assert advised[40:] == advised[:40]


@pytest.mark.parametrize("flag", ["lo", "ht"])
def test_pageout_of_what_cannot_go(proc: Path, flag: str) -> None:
    with pytest.raises(LackError, match="locked, or in huge pages"):
        Pageout(os.getpid(), memory(flag), 8, seed=None, proc=proc)


@pytest.mark.parametrize("line", ["", "/dev/zram0 partition 524284 524284 -2\n"])
def test_pageout_without_swap(proc: Path, line: str) -> None:
    (proc / "swaps").write_text(SWAPS + line)
    with pytest.raises(LackError, match=r"no free swap.*mkswap and swapon"):
        Pageout(os.getpid(), memory(), 8, seed=None, proc=proc)


def test_advice_on_a_process_that_takes_none() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        with pytest.raises(OSError, match="process_madvise") as caught:
            madvise.advise(pidfd, 0, PAGE_BYTES, 12345)
    finally:
        os.close(pidfd)
    assert caught.value.errno in (errno.EINVAL, errno.EPERM, errno.ENOSYS)


class Group:
    """cgroup v2 as a folder, in which memory.reclaim is a file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.vm = root / "machine/vm"
        (self.vm / "emulator").mkdir(parents=True)
        (root / "memory.reclaim").touch()
        (self.vm / "memory.reclaim").touch()
        (self.vm / "cgroup.procs").write_text("1\n2\n")
        (self.vm / "emulator/cgroup.procs").write_text("3\n")
        (self.vm / "memory.stat").write_text("anon 4096\npgsteal 7\n")


def test_reclaim_from_the_nearest_group_that_can(tmp_path: Path, proc: Path) -> None:
    group = Group(tmp_path / "cgroup")
    way = Reclaim(os.getpid(), 16, proc, group.root)
    assert "cgroup /machine/vm, which has 3 processes" in way.plan[0]
    assert way.call() == 0
    assert (group.vm / "memory.reclaim").read_text() == f"{16 * PAGE_BYTES} swappiness=max"


def test_reclaim_on_a_kernel_that_takes_no_swappiness(
    tmp_path: Path, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(tmp_path / "cgroup")
    asked: list[str] = []

    def write_text(path: Path, text: str) -> int:
        asked.append(text)
        if "swappiness" in text:
            raise OSError(errno.EINVAL, "Invalid argument")
        return len(text)

    way = Reclaim(os.getpid(), 1, proc, group.root)
    monkeypatch.setattr(Path, "write_text", write_text)
    way.call()
    way.call()
    assert asked == [f"{PAGE_BYTES} swappiness=max", f"{PAGE_BYTES}", f"{PAGE_BYTES}"]


@pytest.mark.parametrize("taken", [0, 5])
def test_reclaim_of_less_than_was_asked(
    tmp_path: Path, proc: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    group = Group(tmp_path / "cgroup")
    way = Reclaim(os.getpid(), 16, proc, group.root)
    real = Path.write_text

    def write_text(path: Path, text: str) -> int:
        real(group.vm / "memory.stat", f"pgsteal {7 + taken}\n")
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(Path, "write_text", write_text)
    if taken:
        assert way.call() == taken
        return
    with pytest.raises(BlockingIOError):
        way.call()


def test_reclaim_never_from_the_whole_host(tmp_path: Path, proc: Path) -> None:
    group = Group(tmp_path / "cgroup")
    (group.vm / "memory.reclaim").unlink()
    with pytest.raises(LackError, match="no cgroup of its own"):
        Reclaim(os.getpid(), 16, proc, group.root)


def test_ksm_is_set_back(tmp_path: Path, proc: Path) -> None:
    (tmp_path / "run").write_text("0\n")
    way = Ksm(os.getpid(), memory("mg"), proc, tmp_path)
    seen = []
    for _ in range(3):
        way.call()
        seen.append((tmp_path / "run").read_text())
    way.close()
    assert seen == ["1", "0", "1"]
    assert (tmp_path / "run").read_text() == "0"


def test_ksm_where_it_cannot_work(tmp_path: Path, proc: Path) -> None:
    with pytest.raises(LackError, match="CONFIG_KSM"):
        Ksm(os.getpid(), memory("mg"), proc, tmp_path)
    (tmp_path / "run").write_text("0\n")
    with pytest.raises(LackError, match="mem-merge=on"):
        Ksm(os.getpid(), memory(), proc, tmp_path)
