"""Workload B: a Linux hypervisor (L1) with a Linux guest (L2) in it, while the host reclaims.

Runs in the lab host. Prints one JSON line when L2 works, one after each way in which the host
takes pages back (of L1's or of L2's), and one at the end; then, with --hold, waits for its standard
input to close, and looks whether L2's data is still whole.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from nvscope.lab.processes.lifetime import die_with_parent
from nvscope.lab.workloads.interference import reclaim
from nvscope.lab.workloads.interference.search import fullest_block

GUEST = Path(__file__).resolve().parent.parent / "guest"
IMAGE = Path("/mnt/artifacts/Image")
L1_MIB = 768
# Little at a time: without a reverse map each notifier costs 0.3 to 0.7 s under emulation.
RECLAIM_BYTES = PAGE_OUT_BYTES = 128 << 10
NESTED_DATA = b"data of the nested guest\n"  # guest/init.l2


class LinuxGuest:
    """L1 under QEMU with KVM, its console in a file. End it with close()."""

    def __init__(self, name: str, folder: Path) -> None:
        self._console = folder / "console"
        nested = Path("/run-l2")  # a path that L1 sees in its root, which is ours
        nested.mkdir(exist_ok=True)
        _initramfs(folder / "l2", nested / "initrd")
        self.process = subprocess.Popen(
            _qemu(name, self._console),
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 (only a prctl)
        )

    def console(self) -> str:
        """What L1, and L2 through it, have printed."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def rounds(self) -> int:
        """How often L2 has found its data whole; raises where it has lost any."""
        text = self.console()
        if "DATA LOST" in text:
            raise RuntimeError(f"the nested guest lost data:\n{text[-2000:]}")
        return text.count(" ok\n") + text.count(" ok\r\n")

    def wait_rounds(self, count: int, timeout: float) -> None:
        """Wait until L2 has done `count` rounds in all. timeout: seconds."""
        deadline = time.monotonic() + timeout
        while self.rounds() < count:
            if self.process.poll() is not None or time.monotonic() > deadline:
                state = "ended" if self.process.poll() is not None else f"late ({timeout:.0f} s)"
                raise RuntimeError(f"the Linux guest is {state}:\n{self.console()[-3000:]}")
            time.sleep(0.2)

    def nested_memory(self) -> int:
        """The 2 MiB of our memory that hold most of L2's data."""
        pid = self.process.pid
        start = reclaim.mapping_of(pid, L1_MIB << 20)
        return fullest_block(pid, start, L1_MIB << 20, NESTED_DATA)

    def close(self) -> None:
        """End L1, and L2 with it."""
        self.process.kill()
        self.process.wait()


def _qemu(name: str, console: Path) -> list[str]:
    kernel = (
        "console=ttyAMA0 panic=-1 rootfstype=9p root=l0root "
        "rootflags=trans=virtio,version=9p2000.L,msize=262144,cache=loose ro "
        f"init={GUEST / 'init.l1'}"
    )
    return [
        "qemu-system-aarch64", "-name", f"guest={name}", "-uuid", _uuid(name),
        "-nodefaults", "-display", "none", "-no-reboot",
        "-accel", "kvm", "-cpu", "host", "-M", "virt,virtualization=on,gic-version=3,its=off",
        "-smp", "1", "-m", str(L1_MIB), "-kernel", str(IMAGE), "-append", kernel,
        "-virtfs", "local,path=/,mount_tag=l0root,security_model=none,readonly=on,"
        "multidevs=remap",
        "-serial", f"file:{console}", "-monitor", "none",
    ]  # fmt: skip


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def _initramfs(work: Path, target: Path) -> None:
    """L2's root: busybox and its init."""
    (work / "bin").mkdir(parents=True)
    (work / "proc").mkdir()
    shutil.copy("/usr/bin/busybox", work / "bin/busybox")
    shutil.copy(GUEST / "init.l2", work / "init")
    (work / "init").chmod(0o755)
    with target.open("wb") as out:
        subprocess.run(
            "find . | busybox cpio -o -H newc", shell=True, cwd=work, stdout=out, check=True,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip


@contextmanager
def linux_guest(name: str) -> Iterator[LinuxGuest]:
    """A running L1; gone at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="linux-guest-"))
    guest = LinuxGuest(name, folder)
    try:
        yield guest
    finally:
        guest.close()
        shutil.rmtree(folder)


def _reclaim(_guest: LinuxGuest, group: reclaim.Cgroup) -> None:
    group.reclaim(RECLAIM_BYTES)


def _page_out(guest: LinuxGuest, _group: reclaim.Cgroup) -> None:
    # From the middle: what L2 has at one end of the block may have been freed since.
    address = guest.nested_memory() + (reclaim.HUGE_BYTES - PAGE_OUT_BYTES) // 2
    reclaim.page_out(guest.process.pid, address, PAGE_OUT_BYTES)


def _make_huge(guest: LinuxGuest, _group: reclaim.Cgroup) -> None:
    reclaim.make_huge(guest.process.pid, guest.nested_memory())


# In this order: what was paged out and faulted in again, page by page, is then made huge.
_WAYS = {"memory.reclaim": _reclaim, "MADV_PAGEOUT": _page_out, "MADV_COLLAPSE": _make_huge}


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


@click.command()
@click.option("-name", "--name", default="linux-l1", show_default=True)
@click.option("--boot-timeout", default=300.0, show_default=True, help="seconds until L2 works")
@click.option("--hold", is_flag=True, help="keep it running until standard input closes")
@click.option("--forever", is_flag=True, help="take pages back again and again")
def main(name: str, boot_timeout: float, hold: bool, forever: bool) -> None:
    """A Linux hypervisor with a Linux guest in it, while this host takes pages back.

    \b
    Example:
      python3 -m nvscope.lab.workloads.linux --name l1
    """
    started = time.monotonic()
    reclaim.swap_on_zram()
    group = reclaim.Cgroup("nvscope-linux")
    with linux_guest(name) as guest:
        group.add(guest.process.pid)
        guest.wait_rounds(1, boot_timeout)
        _say(event="nested guest works", pid=guest.process.pid, seconds=time.monotonic() - started)
        while True:
            for how, take in _WAYS.items():
                take(guest, group)
                guest.wait_rounds(guest.rounds() + 2, boot_timeout)
                _say(event=how, swapped_bytes=group.swapped_bytes(), rounds=guest.rounds())
            if not forever:
                break
        _say(event="done", rounds=guest.rounds(), seconds=time.monotonic() - started)
        if hold:
            sys.stdin.read()
            guest.wait_rounds(guest.rounds() + 2, boot_timeout)
            _say(event="released", rounds=guest.rounds())


if __name__ == "__main__":
    main()
