"""The exporter and the workloads as processes in a lab guest, driven from this machine."""

from __future__ import annotations

import itertools
import json
import shlex
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Mapping
from queue import Empty, Queue
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from nvscope.lab.host.machine import METRICS_PORT
from nvscope.lab.host.remote import GuestError
from nvscope.lab.host.vm import Lab

_NUMBERS = itertools.count(1)


class GuestProcess:
    """A command in a guest whose lines can be waited for, and which can be signalled."""

    def __init__(self, lab: Lab, command: str) -> None:
        self.command = command
        self._lab = lab
        # The shell names its process, which exec then keeps: that is the one to signal.
        self._ssh = lab.popen(f"echo pid $$; exec {command}")
        self._lines: Queue[str | None] = Queue()
        self._errors: list[str] = []
        for stream, take in ((self._ssh.stdout, self._lines.put), (self._ssh.stderr, self._err)):
            threading.Thread(target=_pump, args=(stream, take), daemon=True).start()
        self.pid = int(self.line(60).split()[1])

    def line(self, timeout: float) -> str:
        """The next line of its standard output. timeout: seconds. Raises GuestError."""
        line = self._next(timeout)
        if line is None:
            raise self._failure(f"ended with {self._ssh.wait(30)}")
        return line.rstrip("\n")

    def rest(self, timeout: float) -> str:
        """What it prints until it ends. timeout: seconds for each line. Raises GuestError."""
        lines = []
        while (line := self._next(timeout)) is not None:
            lines.append(line)
        return "".join(lines)

    def errors(self) -> str:
        """What it has printed on its standard error."""
        return "".join(self._errors)

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self._lab.run(f"kill -{number} {self.pid}")

    def await_error(self, words: str, timeout: float) -> None:
        """Wait until it has said that on standard error. timeout: seconds. Raises GuestError."""
        deadline = time.monotonic() + timeout
        while words not in self.errors():
            if self._ssh.poll() is not None or time.monotonic() > deadline:
                raise self._failure(f"did not say {words!r} in {timeout:.0f} s")
            time.sleep(0.1)

    def send(self, text: str) -> None:
        """Write to its standard input."""
        assert self._ssh.stdin
        self._ssh.stdin.write(text)
        self._ssh.stdin.flush()

    def release(self) -> None:
        """Close its standard input: what a workload with --hold waits for."""
        if self._ssh.stdin and not self._ssh.stdin.closed:
            self._ssh.stdin.close()

    def wait(self, timeout: float = 60) -> int:
        """Its exit status. timeout: seconds. Raises GuestError."""
        try:
            return self._ssh.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._failure(f"did not end in {timeout:.0f} s") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ssh.poll() is None and self._lab.alive():
            self._lab.run(f"kill -9 {self.pid}", check=False)
        self._ssh.kill()
        self._ssh.wait()

    def _next(self, timeout: float) -> str | None:
        try:
            return self._lines.get(timeout=timeout)
        except Empty:
            raise self._failure(f"said nothing for {timeout:.0f} s") from None

    def _err(self, line: str | None) -> None:
        if line is not None:
            self._errors.append(line)

    def _failure(self, what: str) -> GuestError:
        return GuestError(f"`{self.command}` {what}\n{self.errors()[-3000:]}")


def _pump(stream: Any, take: Any) -> None:
    for line in stream:
        take(line)
    take(None)


class Exporter(GuestProcess):
    """`nvscope export` in a guest, serving; scraped through the port forwarded to us.

    before: what runs it, "setpriv …" for instance.
    """

    def __init__(self, lab: Lab, *options: str, timeout: float = 240, before: str = "") -> None:
        options = ("--listen", f"0.0.0.0:{METRICS_PORT}", *options)
        super().__init__(lab, f"{before} nvscope export {shlex.join(options)}".strip())
        self.url = f"http://127.0.0.1:{lab.metrics_port}/metrics"
        self.serving = self.line(timeout)

    def scrape(self) -> Metrics:
        """All samples now."""
        with urllib.request.urlopen(self.url, timeout=60) as response:
            return Metrics(response.read().decode())


class Recording(GuestProcess):
    """`nvscope record` in a guest, to a file there."""

    def __init__(self, lab: Lab, *options: str, timeout: float = 240) -> None:
        self.path = f"/tmp/recording-{next(_NUMBERS)}.arrows"
        super().__init__(lab, f"nvscope record {shlex.join(options)} {self.path}")
        self.await_error("nvscope: recording", timeout)

    def finish(self) -> bytes:
        """Stop it as Ctrl-C does; the trace."""
        self.signal(signal.SIGINT)
        if self.wait() != 0:
            raise self._failure("failed")
        trace = self._lab.remote.fetch(self.path)
        self._lab.run(f"rm {self.path}")
        return trace


class Metrics:
    """The samples of one scrape."""

    def __init__(self, exposition: str) -> None:
        self.exposition = exposition
        families = text_string_to_metric_families(exposition)
        self.samples: list[Sample] = [sample for family in families for sample in family.samples]

    def select(self, name: str, **labels: str) -> list[Sample]:
        """The samples of this name that have at least these labels."""
        return [s for s in self.samples if s.name == name and labels.items() <= s.labels.items()]

    def sum(self, name: str, **labels: str) -> float:
        """The sum over `select`; 0 where there is none."""
        return sum(sample.value for sample in self.select(name, **labels))

    def values(self, name: str, label: str, **labels: str) -> Mapping[str, float]:
        """Value of the label -> value of the sample."""
        return {s.labels[label]: s.value for s in self.select(name, **labels)}


class Synthetic(GuestProcess):
    """The synthetic nested guest; with hold=True it stays until `release`.

    script: the module of nvscope.lab.workloads that gives it its orders.
    """

    def __init__(
        self, lab: Lab, name: str, *options: str, hold: bool = True, script: str = "main"
    ) -> None:
        payload = ("--payload", "/mnt/artifacts/l1.bin")
        words = ["-name", name, *payload, *options, *(["--hold"] if hold else [])]
        super().__init__(lab, f"python3 -m nvscope.lab.workloads.{script} {shlex.join(words)}")

    def facts(self, timeout: float) -> dict[str, Any]:
        """What it has caused, as it says itself. timeout: seconds."""
        facts: dict[str, Any] = json.loads(self.line(timeout))
        return facts


class ManyVms(GuestProcess):
    """VMs that run nothing, of one process; they stay until `release`."""

    def __init__(self, lab: Lab, name: str, count: int) -> None:
        words = shlex.join(["-name", name, str(count)])
        super().__init__(lab, f"python3 -m nvscope.lab.workloads.manyvms {words}")

    def facts(self, timeout: float) -> dict[str, Any]:
        """What it has caused, as it says itself. timeout: seconds."""
        facts: dict[str, Any] = json.loads(self.line(timeout))
        return facts


class Linux(GuestProcess):
    """The Linux hypervisor with its Linux guest."""

    def __init__(self, lab: Lab, name: str, *options: str) -> None:
        words = shlex.join(["--name", name, "--hold", *options])
        super().__init__(lab, f"python3 -m nvscope.lab.workloads.linux {words}")

    def event(self, timeout: float) -> dict[str, Any]:
        """The next of its JSON lines. timeout: seconds."""
        event: dict[str, Any] = json.loads(self.line(timeout))
        return event
