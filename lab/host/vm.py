"""A running lab host: QEMU, its console, its ports, and the way in."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Self

import psutil

from nvscope.lab.host.complaints import complaints, lockdep_off
from nvscope.lab.host.machine import METRICS_PORT, SSH_PORT, Machine, Share, qemu_arguments
from nvscope.lab.host.remote import GuestError, Remote
from nvscope.lab.processes.lifetime import die_with_parent
from nvscope.lab.setup import memory
from nvscope.probes.errors import LackError

READY = "nvscope-lab: ready"
FOLDER_PREFIX = "nvscope-lab-"  # then the owner's pid
CONSOLE_TAIL_LINES = 15
SILENT = "its console said nothing (ttyAMA0: a kernel needs CONFIG_SERIAL_AMBA_PL011_CONSOLE)"
UNSEEN = "the guest does not see our code: neither its kernel nor its initrd has 9p, 9pnet_virtio"
CRASH_LINES = 60
CODE = "/run/nvscope/tree/nvscope/cli.py"  # by guest/init
CRASHES = ("Kernel panic", "Internal error", "Unable to handle", "BUG:")


class Lab:
    """A booted lab host. Use it as a context manager: at its end nothing is left.

    QEMU is ended by the kernel even when this process is killed; `remote` runs commands.
    """

    def __init__(self, machine: Machine, rootfs: Path, shares: list[Share]) -> None:
        _sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
        self._console = self.folder / "console"
        ssh_port, self.metrics_port = _free_ports(2)
        # Without a network the guest's other port is reached over ssh too.
        forwards = {self.metrics_port: METRICS_PORT} if machine.in_memory else {}
        self.remote = Remote(ssh_port, rootfs, self.folder / "ssh", self._error, forwards)
        self.run, self.popen = self.remote.run, self.remote.popen
        self._initrd, self._foreign = self.folder / "initrd", machine.foreign
        if machine.in_memory:
            machine = self._with_shares(machine, shares)
        arguments = qemu_arguments(
            machine,
            rootfs / "root.ext4",
            shares,
            self._console,
            {SSH_PORT: ssh_port, METRICS_PORT: self.metrics_port},
        )
        self._log = (self.folder / "qemu.log").open("w+")
        self._qemu = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 (only a prctl)
            start_new_session=True,
        )

    def wait_ready(self, timeout: float = 120) -> Self:
        """Wait until the guest takes commands. timeout: seconds. Raises GuestError."""
        deadline = time.monotonic() + timeout
        while READY not in self.console() or not self.remote.reachable():
            if not self.alive():
                raise self._error("the guest ended while it booted")
            if time.monotonic() > deadline:
                raise self._error(f"the guest was not ready in {timeout:.0f} s")
            time.sleep(0.1)
        # QEMU has read it, and it is large.
        self._initrd.unlink(missing_ok=True)
        if self._foreign and self.run(f"test -e {CODE}", check=False).returncode:
            raise self._error(UNSEEN)
        return self

    def alive(self) -> bool:
        """Whether QEMU runs."""
        return self._qemu.poll() is None

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._qemu.pid

    def close(self) -> None:
        """End the guest and remove all that belongs to it; may be called twice."""
        if self.alive():
            self._qemu.kill()
        self._qemu.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def console(self) -> str:
        """All that the guest has printed on its console."""
        try:
            return self._console.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def warnings(self) -> list[str]:
        """Lines of the console in which the kernel complains of itself."""
        return complaints(self.console())

    def last_warnings(self) -> list[str]:
        """The same at the end of a run, with a line more where lockdep no longer looked."""
        stats = self.run("cat /proc/lockdep_stats 2>/dev/null || true").stdout
        return self.warnings() + (["lockdep was turned off"] if lockdep_off(stats) else [])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _with_shares(self, machine: Machine, shares: list[Share]) -> Machine:
        """The machine with all that it is to see in its initrd, which lies in our folder."""
        assert machine.initrd
        try:
            memory.initrd(machine.initrd, shares, self._initrd)
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise LackError(f"{self._initrd} cannot be written: {error.strerror}") from None
        return replace(machine, initrd=self._initrd)

    def _error(self, what: str) -> GuestError:
        if not self.alive():
            what += f" (QEMU ended with {self._qemu.returncode})"
            self._log.flush()
            what += f" {(self.folder / 'qemu.log').read_text(errors='replace')[-1000:]}".rstrip()
        said = _console_end(self.console())
        if not said:
            return GuestError(f"{what}; {SILENT}")
        return GuestError(f"{what}; the end of its console:\n{said}")


def _sweep() -> None:
    """Remove the folders of labs whose owner was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _console_end(console: str) -> str:
    """From the crash on, where there is one, else the last lines.

    >>> _console_end("a\\nKernel panic - not syncing\\n" + 20 * "trace\\n").splitlines()[0]
    'Kernel panic - not syncing'
    """
    lines = console.splitlines()
    crashed = [i for i, line in enumerate(lines) if any(sign in line for sign in CRASHES)]
    end = lines[crashed[0] :][:CRASH_LINES] if crashed else lines[-CONSOLE_TAIL_LINES:]
    return "\n".join(end)


def _free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
