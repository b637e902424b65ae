"""Commands in a guest, over ssh."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TIMED_OUT = 124  # what timeout(1) exits with
DAY_SECONDS = 86400.0


class GuestError(RuntimeError):
    """The guest crashed, hung or was not reachable; the message ends with its console's tail."""


@dataclass(frozen=True)
class Remote:
    """A way into a guest.

    port: of sshd, on 127.0.0.1; keys: folder with id and known_hosts; control: socket that all
    connections share; explain: makes the error for a command that got no proper end; forwards:
    ports on this machine's 127.0.0.1 -> the guest's own, to be reached over that connection.
    """

    port: int
    keys: Path
    control: Path
    explain: Callable[[str], GuestError] = GuestError
    forwards: Mapping[int, int] = field(default_factory=dict)

    def run(
        self, command: str, timeout: float = 120, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the guest. timeout: seconds, also enforced in the guest.

        Raises GuestError when the guest is gone or the time is up, and, with `check`, when the
        command fails.
        """
        try:
            done = subprocess.run(
                self.arguments(limited(command, timeout)),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout + 20,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self.explain(f"no end of `{command}` in {timeout:.0f} s") from None
        if done.returncode == TIMED_OUT:
            raise self.explain(f"`{command}` did not end in {timeout:.0f} s: {done.stderr[-2000:]}")
        if done.returncode == 255:  # ssh's own: the connection broke
            raise self.explain(f"the guest was lost during `{command}`: {done.stderr[-2000:]}")
        if check and done.returncode != 0:
            raise GuestError(
                f"`{command}` exited with {done.returncode} in the guest\n"
                f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
            )
        return done

    def popen(self, command: str, timeout: float = DAY_SECONDS) -> subprocess.Popen[str]:
        """Start a command in the guest, with its stdin, stdout and stderr as pipes here."""
        return subprocess.Popen(
            self.arguments(limited(command, timeout)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def fetch(self, path: str) -> bytes:
        """The content of a file in the guest. Raises GuestError."""
        command = self.arguments(f"cat {shlex.quote(path)}")
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        if done.returncode != 0:
            raise GuestError(f"{path}: {done.stderr.decode(errors='replace')[-2000:]}")
        return done.stdout

    def reachable(self) -> bool:
        """Whether a command can be run now; opens the shared connection."""
        # No pipes: the connection stays open in the background and would hold them.
        done = subprocess.run(
            ["timeout", "30", *self.arguments("true")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode == 0

    def arguments(self, command: str | None = None, tty: bool = False) -> list[str]:
        """The ssh command line that runs `command`, or a login shell, in the guest."""
        options = {
            "IdentityFile": self.keys / "id",
            "UserKnownHostsFile": self.keys / "known_hosts",
            "HostKeyAlias": "nvscope-lab",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
            "ConnectTimeout": 20,
            "ServerAliveInterval": 30,
            "ServerAliveCountMax": 20,
            # One connection for all commands: a handshake costs a second under emulation.
            "ControlMaster": "auto",
            "ControlPath": self.control,
            "ControlPersist": "yes",
        }
        argv = ["ssh", "-F", "none", "-p", str(self.port), "-t" if tty else "-T"]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        # What the shared connection forwards already is not forwarded twice.
        for here, there in self.forwards.items():
            argv += ["-L", f"127.0.0.1:{here}:127.0.0.1:{there}"]
        return [*argv, "root@127.0.0.1", *([command] if command else [])]


def limited(command: str, seconds: float) -> str:
    """The command under a time limit in the guest; TIMED_OUT when it is reached.

    >>> limited("echo hi", 5)
    "timeout -k 5 5 bash -c 'echo hi'"
    """
    return f"timeout -k 5 {seconds:.0f} bash -c {shlex.quote(command)}"
