"""A running lab host: QEMU, its console, and commands given to the guest over ssh."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from nvscope.lab.machine import METRICS_PORT, SSH_PORT, Machine, Share, qemu_arguments
from nvscope.lab.process import die_with_parent

READY = "nvscope-lab: ready"
CONSOLE_TAIL_LINES = 15


class GuestError(RuntimeError):
    """The guest crashed, hung or was not reachable; the message ends with its console's tail."""


class Lab:
    """A booted lab host. Use it as a context manager: at its end nothing is left.

    QEMU is ended by the kernel even when this process is killed.
    """

    def __init__(self, machine: Machine, rootfs: Path, shares: list[Share]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nvscope-lab-"))
        self.console_file = self._folder / "console"
        self._rootfs = rootfs
        ports = _free_ports(2)
        self.ssh_port, self.metrics_port = ports
        arguments = qemu_arguments(
            machine,
            rootfs / "root.ext4",
            shares,
            self.console_file,
            {SSH_PORT: ports[0], METRICS_PORT: ports[1]},
        )
        self._log = (self._folder / "qemu.log").open("w+")
        self._qemu = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 (only a prctl)
            start_new_session=True,
        )

    # ---- life

    def wait_ready(self, timeout: float = 120) -> None:
        """Wait until the guest takes commands. timeout: seconds. Raises GuestError."""
        deadline = time.monotonic() + timeout
        while READY not in self.console():
            if self._qemu.poll() is not None:
                raise self._error("the guest ended while it booted")
            if time.monotonic() > deadline:
                raise self._error(f"the guest was not ready in {timeout:.0f} s")
            time.sleep(0.1)
        while self._ssh_true() != 0:
            if time.monotonic() > deadline:
                raise self._error("the guest takes no ssh connection")
            time.sleep(0.2)

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._qemu.pid

    def close(self) -> None:
        """End the guest and remove all that belongs to it; may be called twice."""
        if self._qemu.poll() is None:
            self._qemu.kill()
        self._qemu.wait()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- commands

    def run(
        self, command: str, timeout: float = 120, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the guest. timeout: seconds, also enforced in the guest.

        Raises GuestError when the guest is gone or the time is up, and, with `check`, when the
        command fails.
        """
        argv = self.ssh_arguments(_limited(command, timeout))
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout + 20,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._error(f"no end of `{command}` in {timeout:.0f} s") from None
        if self._qemu.poll() is not None:
            raise self._error(f"the guest ended during `{command}`")
        if done.returncode == 124:
            raise self._error(f"`{command}` did not end in {timeout:.0f} s\n{done.stderr[-2000:]}")
        if check and done.returncode != 0:
            raise GuestError(
                f"`{command}` exited with {done.returncode} in the guest\n"
                f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
            )
        return done

    def popen(self, command: str, timeout: float = 3600) -> subprocess.Popen[str]:
        """Start a command in the guest, with its stdin, stdout and stderr as pipes here."""
        return subprocess.Popen(
            self.ssh_arguments(_limited(command, timeout)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def ssh_arguments(self, command: str | None = None, tty: bool = False) -> list[str]:
        """The ssh command line that runs `command`, or a login shell, in the guest."""
        options = {
            "IdentityFile": self._rootfs / "id",
            "UserKnownHostsFile": self._rootfs / "known_hosts",
            "HostKeyAlias": "nvscope-lab",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
            "ConnectTimeout": 20,
            "ServerAliveInterval": 30,
            "ServerAliveCountMax": 20,
            # One connection for all commands: a handshake costs a second under emulation.
            "ControlMaster": "auto",
            "ControlPath": self._folder / "ssh",
            "ControlPersist": "yes",
        }
        argv = ["ssh", "-F", "none", "-p", str(self.ssh_port), "-t" if tty else "-T"]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        return [*argv, "root@127.0.0.1", *([command] if command else [])]

    # ---- what the guest says

    def console(self) -> str:
        """All that the guest has printed on its console."""
        try:
            return self.console_file.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def warnings(self) -> list[str]:
        """Lines of the console in which the kernel complains of itself."""
        signs = ("WARNING:", "BUG:", "Oops", "Unable to handle", "rcu: INFO", "possible recursive")
        return [line for line in self.console().splitlines() if any(s in line for s in signs)]

    def _error(self, what: str) -> GuestError:
        tail = "\n".join(self.console().splitlines()[-CONSOLE_TAIL_LINES:])
        if self._qemu.poll() is not None:
            self._log.flush()
            self._log.seek(0)
            tail += f"\n[QEMU ended with {self._qemu.returncode}] {self._log.read()[-1000:]}"
        return GuestError(f"{what}; its console's end:\n{tail}")

    def _ssh_true(self) -> int:
        argv = self.ssh_arguments("true")
        try:
            # stderr must not be a pipe: the master that stays behind would hold it open.
            return subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=30,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return 124


def _limited(command: str, seconds: float) -> str:
    """The command under a time limit in the guest; 124 when it is reached."""
    return f"timeout -k 5 {seconds:.0f} bash -c {shlex.quote(command)}"


def _free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports

