"""A workload as a task of a watched host."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from nvscope.lab.host.services import GuestProcess, Linux
from nvscope.lab.series.checks import starving
from nvscope.lab.series.checks.facts import UNKNOWN, Facts
from nvscope.lab.series.checks.outcome import Problem
from nvscope.lab.series.checks.watch import CONSOLE_LINES, Watch

LINUX_SECONDS = 900.0  # for each event of a Linux in a Linux


@dataclass(frozen=True)
class Play:
    """One run of a workload, as the VM `name`.

    script: the module of lab.workloads; exact: its facts state what must have been counted;
    starved: the cache from which allocations of its process fail, starving.ANY, or "";
    limit_seconds: until it has to be done.
    """

    name: str
    script: str
    options: tuple[str, ...] = ()
    exact: bool = True
    starved: str = ""
    limit_seconds: float = 300.0

    def command(self, facts: Facts) -> str:
        """As it is run in the guest."""
        words = ["-name", self.name, "--payload", "/mnt/artifacts/l1.bin", *self.options]
        # Nobody knows which allocations will have failed, hence what the map then does.
        if self.starved or facts.revmap == UNKNOWN:
            words.append("--unknown-map")
        command = f"python3 -m nvscope.lab.workloads.{self.script} {shlex.join(words)}"
        if self.starved:
            return f"sh -c {shlex.quote(f'echo 1 > /proc/self/make-it-fail; exec {command}')}"
        return command

    def __call__(self, watch: Watch) -> tuple[Problem, ...]:
        """Run it: a watch's task."""
        if not self.starved:
            return self._run(watch)
        watch.host.run(starving.script(starving.PROBABILITY, self.starved))
        try:
            return self._run(watch)
        finally:
            if watch.host.alive():
                watch.host.run(starving.script(0, self.starved))

    def _run(self, watch: Watch) -> tuple[Problem, ...]:
        with GuestProcess(watch.host, self.command(watch.facts)) as process:
            watch.belongs(process.pid, self.name)
            facts, problems = ended(process, self.limit_seconds)
        return watch.wrong_counts(facts) if facts and self.exact else problems


def ended(
    process: GuestProcess, limit_seconds: float
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The facts that a workload prints at its end, or what it says is wrong. Raises GuestError."""
    lines = process.rest(limit_seconds).splitlines()
    code = process.wait()
    if code == 0:
        facts: dict[str, Any] = json.loads(lines[-1])
        return facts, ()
    errors = [line for line in process.errors().splitlines() if line.strip()]
    what = errors[-1].removeprefix("Error: ") if errors else f"exit code {code}"
    kind = "data" if ": wrong " in what else "test"
    return {}, (Problem(kind, what, tuple(errors[-CONSOLE_LINES:])),)


def linux(watch: Watch) -> tuple[Problem, ...]:
    """A Linux in a Linux, which looks after its data itself: a watch's task."""
    with Linux(watch.host, "linux") as guest:
        event = guest.event(LINUX_SECONDS)
        watch.belongs(int(event["pid"]), "linux")
        while event["event"] != "done":
            event = guest.event(LINUX_SECONDS)
    return ()
