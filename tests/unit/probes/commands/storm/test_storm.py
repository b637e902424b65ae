"""What storm does to whom: mappings, ways, the pace, and what it says."""

from __future__ import annotations

import errno
import json
import os
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nvscope.probes.commands.storm import cli
from nvscope.probes.commands.storm.memory import PAGE_BYTES, GuestMapping, guest_memory, present
from nvscope.probes.commands.storm.run import Tally, storm
from nvscope.probes.commands.storm.ways import Ksm, Pageout, Reclaim
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import madvise
from nvscope.probes.vms import running_vms
from nvscope.probes.vms.identity import Vm

SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"
SMALL = frozenset({"rd", "wr"})


def smaps(*mappings: tuple[str, int, str, str]) -> str:
    """Text of /proc/PID/smaps. mappings: permissions, size in MiB, file and VmFlags."""
    lines, at = [], 0x7F0000000000
    for permissions, mib, name, flags in mappings:
        inode = "77" if name.startswith("/") else "0"
        lines.append(f"{at:x}-{at + (mib << 20):x} {permissions} 00000000 00:01 {inode}   {name}")
        lines += [f"Size: {mib << 10} kB", "Rss: 0 kB", f"VmFlags: {flags} "]
        at += mib << 21
    return "\n".join(lines) + "\n"


def sizes(text: str) -> list[int]:
    return [m.size_bytes >> 20 for m in guest_memory(text)]


def test_guest_memory_is_what_a_fork_leaves_out() -> None:
    text = smaps(
        ("rw-p", 5000, "", "rd wr mr mw me ac"),  # the VMM's own heap
        ("rw-p", 1024, "", "rd wr mr mw me dc ac"),
        ("rw-s", 4096, "/memfd:memory-backend-memfd (deleted)", "rd wr sh dc"),
        ("rw-p", 16, "", "rd wr dc"),  # video memory
        ("rw-s", 8192, "/dev/vfio/7", "rd wr pf dc"),
    )
    assert sizes(text) == [4096, 1024]


def test_guest_memory_of_a_vmm_that_does_not_say() -> None:
    text = smaps(
        ("rw-p", 512, "[heap]", "rd wr"),
        ("r--p", 900, "", "rd"),
        ("rw-p", 800, "/usr/lib/libbig.so", "rd wr"),
        ("rw-p", 256, "", "rd wr"),
        ("rw-p", 63, "", "rd wr"),
        ("rw-s", 100, "/dev/hugepages/ram (deleted)", "rd wr ht"),
    )
    assert sizes(text) == [256, 100]
    assert guest_memory("") == []


def test_pages_that_are_present(tmp_path: Path) -> None:
    entries = array("Q", [0, 1 << 63, 1 << 62, 1 << 63 | 7, 1 << 63])
    (tmp_path / "pagemap").write_bytes(entries.tobytes())
    assert present(tmp_path / "pagemap", PAGE_BYTES, 3) == 2


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


class Fake:
    """A way that takes two pages a call, or fails with the errnos that it is given."""

    def __init__(self, *failures: int) -> None:
        self.plan = ["two pages"]
        self.calls = 0
        self.closed = False
        self._failures = iter(failures)

    def call(self) -> int:
        self.calls += 1
        number = next(self._failures, 0)
        if number:
            raise OSError(number, os.strerror(number))
        return 2

    def close(self) -> None:
        self.closed = True


def answers(*said: bool) -> Iterator[bool]:
    yield from said
    while True:
        yield True


def test_a_storm_counts_calls_pages_and_errors() -> None:
    wants_end = answers(*[False] * 5)
    tally = storm(Fake(errno.EAGAIN, 0, errno.EAGAIN), 1e9, None, lambda _: next(wants_end))
    assert (tally.calls, tally.pages, tally.errors) == (5, 6, {"EAGAIN": 2})
    assert not tally.ended
    assert "5 calls" in tally.text() and "errors: EAGAIN 2" in tally.text()


@pytest.mark.parametrize("number", [errno.ESRCH, errno.ENOENT])
def test_a_storm_ends_with_its_vm(number: int) -> None:
    tally = storm(Fake(0, number), 1e9, None, lambda _: False)
    assert (tally.calls, tally.ended) == (2, True)


def test_a_storm_waits_for_its_turn_and_its_end() -> None:
    waits: list[float] = []

    def stopped(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    storm(Fake(), 0.5, 60, stopped)
    assert waits[0] == 0
    assert 1.5 < waits[1] <= 2
    assert storm(Fake(), 1e9, 1e-9, lambda _: False).calls == 0


def test_result_as_json() -> None:
    said = Tally(calls=10, pages=3, seconds=2.0).as_json()
    assert (said["bytes"], said["rate"], said["errors"]) == (3 * PAGE_BYTES, 5.0, {})
    json.dumps(said)


class NoSignals:
    """None comes."""

    def came(self, seconds: float) -> bool:
        time.sleep(seconds)
        return False


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The command as root, with a VM and a way that is none."""
    made = Fake()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(running_vms, "find", lambda wanted: Vm(wanted, "", 77))
    monkeypatch.setattr(cli, "make", lambda wanted, vm: made)
    monkeypatch.setattr(cli, "Ends", NoSignals)
    return made


def invoke(*options: str) -> click.testing.Result:
    return CliRunner().invoke(cli.command, ["--vm", "db", *options])


def test_the_command(fake: Fake) -> None:
    done = invoke("--yes", "--rate", "1e6", "--duration", "50ms", "--json")
    assert done.exit_code == 0
    assert fake.closed and fake.calls > 1
    said = json.loads(done.stdout)
    assert (said["vm"], said["pid"], said["way"], said["pages"]) == (
        "db",
        77,
        "pageout",
        2 * fake.calls,
    )
    assert done.stderr.splitlines()[:2] == ["VM db (pid 77)", "two pages"]


def test_a_dry_run_does_nothing(fake: Fake) -> None:
    done = invoke("--dry-run")
    assert (done.exit_code, fake.calls, fake.closed) == (0, 0, True)
    assert "two pages" in done.stderr


def test_without_a_terminal_it_wants_a_yes(fake: Fake) -> None:
    done = invoke()
    assert (done.exit_code, fake.calls, fake.closed) == (2, 0, True)
    assert "no terminal to ask on: give --yes" in done.stderr


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = invoke("--yes")
    assert (done.exit_code, "run as root" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    "options",
    [
        *(("--rate", text) for text in ("0", "nan", "inf", "-inf", "1e-300", "1e300", "-1")),
        ("--pages", "0"),
        ("--duration", "soon"),
        ("--way", "cold"),
        ("extra",),
    ],
)
def test_wrong_usage(fake: Fake, options: tuple[str, ...]) -> None:
    assert invoke(*options).exit_code == 2
    assert fake.calls == 0
