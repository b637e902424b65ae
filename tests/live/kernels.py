"""One kernel under all that measures, at once: what each has said of the same guests."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvscope.lab.host.services import Exporter, GuestProcess, Metrics, Recording, Synthetic
from nvscope.lab.host.vm import Lab
from tests.live.counts import expected_at, oracle, traced

# Whole unmaps of shadow MMUs take 20 s each on Debian's kernels: few of them.
UNMAPS = 2
# VM -> the module of nvscope.lab.workloads that gives it its orders, and its options.
VMS = {
    "off": ("main", ("--unmaps", str(UNMAPS), "--pages", "4")),
    "stage2-off": ("case", ("stage2-off",)),
    "late-vcpu": ("case", ("late-vcpu",)),
}
# One whole unmap takes 100 s where pages have 16 KiB, and twice that on a busy machine.
BEGIN_SECONDS, FACTS_SECONDS, END_SECONDS = 600, 1800, 120
PROBE = "nvscope probe s2_fault --by vm --by stage --by result --json"
TOP = "nvscope top --json --interval 2s"


@dataclass
class Seen:
    """What all have said.

    facts: VM -> what it says it caused; metrics: the exporter's page while that VM was there, end:
    when all had gone; ftrace: its counts at that time; hook: where faults were counted; trace: the
    recording; probe, top: the results of s2_fault, and top's frames; doctor: what it foresaw.
    """

    host: Lab
    page_bytes: int
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Metrics] = field(default_factory=dict)
    ftrace: dict[str, Any] = field(default_factory=dict)
    end: Metrics | None = None
    hook: str = ""
    trace: Path = Path()
    probe: dict[str, Any] = field(default_factory=dict)
    top: list[dict[str, Any]] = field(default_factory=list)
    doctor: dict[str, Any] = field(default_factory=dict)

    def expected(self, vm: str) -> dict[str, int]:
        """What nvscope must have counted of a VM on this kernel."""
        return expected_at(self.hook, self.facts[vm]["expected"])


def watch(host: Lab, folder: Path) -> Seen:
    """Start all, run the VMs one after the other, end all. folder: for the trace."""
    seen = Seen(host, int(host.run("getconf PAGESIZE").stdout))
    with ExitStack() as stack:
        exporter = stack.enter_context(Exporter(host, "--strict", timeout=BEGIN_SECONDS))
        recording = stack.enter_context(Recording(host, "--strict", timeout=BEGIN_SECONDS))
        probe = stack.enter_context(GuestProcess(host, PROBE))
        top = stack.enter_context(GuestProcess(host, TOP))
        probe.await_error("nvscope: measuring s2_fault", BEGIN_SECONDS)
        seen.top.append(json.loads(top.line(BEGIN_SECONDS)))
        oracle(host, "start")
        stack.callback(oracle, host, "stop")
        for vm in VMS:
            _run(vm, exporter, top, seen)
        seen.end = exporter.scrape()
        (where,) = seen.end.select("nvscope_probe_attached", probe="s2_fault")
        seen.hook = where.labels["hook"]
        probe.signal(signal.SIGINT)
        seen.probe = json.loads(probe.line(END_SECONDS))
        seen.trace = folder / "trace.arrows"
        seen.trace.write_bytes(recording.finish())
        top.signal(signal.SIGINT)
        seen.top += [json.loads(line) for line in top.rest(END_SECONDS).splitlines()]
        seen.doctor = json.loads(host.run("nvscope doctor --json").stdout)
        assert exporter.errors() == ""
    return seen


def _run(vm: str, exporter: Exporter, top: GuestProcess, seen: Seen) -> None:
    """One VM from its begin to its end; it is looked at before it ends, by top as well."""
    script, options = VMS[vm]
    with Synthetic(seen.host, vm, *options, script=script) as guest:
        seen.facts[vm] = guest.facts(FACTS_SECONDS)
        seen.metrics[vm], seen.ftrace[vm] = exporter.scrape(), traced(seen.host)
        done_ns = int(seen.host.run("date +%s%N").stdout)
        while seen.top[-1]["unix_ns"] < done_ns:
            seen.top.append(json.loads(top.line(END_SECONDS)))
        guest.release()
        assert guest.wait(END_SECONDS) == 0
