"""All that measures, beside the exporter, while one VM runs from its start to its end."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from nvscope.lab.host.services import GuestProcess, Metrics
from nvscope.lab.host.vm import Lab
from tests.live.counts import FAULTS, SHADOW_UNMAPS, UNMAPS
from tests.terminal import Terminal

BEGIN_SECONDS, END_SECONDS = 600, 120
# Probe -> the exporter's metric of the same calls, and what its calls are grouped by.
PROBES = {
    "notifier_unmap": (f"{UNMAPS}_count", "vm trigger"),
    "s2_fault": (FAULTS, "vm stage"),
    "shadow_unmap": (SHADOW_UNMAPS, "vm scope reason"),
    "revmap_record": ("nvscope_revmap_records_total", "vm outcome"),
}


@dataclass
class Beside:
    """top on a terminal, and a process of each probe."""

    top: Terminal
    probes: dict[str, GuestProcess]

    def finish(self) -> dict[str, dict[str, Any]]:
        """End all, as Ctrl-C and q do; the probes' results."""
        for probe in self.probes.values():
            probe.signal(signal.SIGINT)
        results = {name: json.loads(p.line(END_SECONDS)) for name, p in self.probes.items()}
        self.top.type("q")
        assert [p.wait(END_SECONDS) for p in self.probes.values()] == [0] * len(PROBES)
        assert self.top.wait(END_SECONDS) == 0
        return results


@contextlib.contextmanager
def everything(host: Lab) -> Iterator[Beside]:
    """Run top and each probe; when the block is entered, all are attached."""
    with ExitStack() as stack:
        command = host.remote.arguments("nvscope top", tty=True)
        top = stack.enter_context(Terminal(command, columns=100))
        probes = {name: stack.enter_context(GuestProcess(host, _command(name))) for name in PROBES}
        for probe in probes.values():
            probe.await_error("nvscope: measuring", BEGIN_SECONDS)
        top.await_text("nvscope top:", BEGIN_SECONDS)
        yield Beside(top, probes)


def _command(name: str) -> str:
    axes = "".join(f" --by {axis}" for axis in PROBES[name][1].split())
    return f"nvscope probe {name}{axes} --json"


def assert_agree(results: dict[str, Any], vm: str, before: Metrics, after: Metrics) -> None:
    """No probe has lost anything, and each saw as much as the exporter.

    before, after: the exporter's pages of before they were ended, and of after: the VM goes on.
    """
    for name, (metric, _) in PROBES.items():
        groups = [group for group in results[name]["groups"] if group["labels"]["vm"] == vm]
        found = sum(group["count"] for group in groups)
        assert 0 < before.sum(metric, vm=vm) <= found <= after.sum(metric, vm=vm), name
        assert set(results[name]["lost"].values()) == {0}, name
