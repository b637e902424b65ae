"""`nvscope probe` and `nvscope top`, all at once on one host, and what each of them has said.

At once, for compiling takes the time; and so each runs beside the others and the exporter.
"""

from __future__ import annotations

import contextlib
import csv
import json
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from nvscope.lab.host.services import GuestProcess, Metrics, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.truth.oracle import GROUP, TRACEFS
from tests.live.conftest import Observed
from tests.live.counts import oracle, traced
from tests.terminal import Terminal

BEGIN_SECONDS, SEEN_SECONDS, END_SECONDS = 600, 120, 60
# Primes. They work at the same time; the one with fewer slower.
UNMAPS = {"first": 61, "second": 43}
PACE_SECONDS = {"first": 0.1, "second": 0.2}
STARVED, MERGED, BUSY = "starved", "merged", "busy"
STARVED_UNMAPS, MERGED_UNMAPS = 31, 3
JSON, CSV = "/tmp/probe.json", "/tmp/probe.csv"
CONDITIONS = "--json --fail-if 'count > 1.5x' --fail-if 'vm=first: count > 10'"
LINES = 120  # of the terminals: the summary fits
CTRL_C = "\x03"
KSM = "/sys/kernel/mm/ksm"
SWAP_ON = (
    "python3 -c 'from nvscope.lab.workloads.interference import reclaim; reclaim.swap_on_zram()'"
)
SWAP_OFF = "swapoff /dev/zram0; echo 1 > /sys/block/zram0/reset"


class Started:
    """What runs. On terminals: notifier, top. Of the others the records are counted by kprobes."""

    def __init__(self, host: Lab, stack: ExitStack) -> None:
        self._host, self._stack = host, stack
        slow = f"--by vm --by trigger --threshold 1ns --json {JSON}"
        self.notifier = self._terminal(f"probe notifier_unmap {slow}")
        self.top = self._terminal("top")
        kprobe = f"--by vm --by outcome --mechanism kprobe --csv={CSV}"
        self.lines = {
            "revmap_record": self._lines(f"probe revmap_record {kprobe} --json"),
            "s2_fault": self._lines("probe s2_fault --by vm --by stage --by result --json"),
            "shadow_unmap": self._lines("probe shadow_unmap --by vm --by scope --by within --json"),
        }
        for process in self.lines.values():
            process.await_error("nvscope: measuring", BEGIN_SECONDS)
        self.notifier.await_text("(Ctrl-C ends it)", BEGIN_SECONDS)
        self.top.await_text("nvscope top:", BEGIN_SECONDS)

    def finish(self, name: str, number: int) -> dict[str, Any]:
        """End one by a signal; its result."""
        process = self.lines[name]
        process.signal(number)
        result: dict[str, Any] = json.loads(process.line(END_SECONDS))
        assert process.wait(END_SECONDS) == 0
        return result

    def _terminal(self, words: str) -> Terminal:
        command = self._host.remote.arguments(f"nvscope {words}", tty=True)
        return self._stack.enter_context(Terminal(command, columns=100, lines=LINES))

    def _lines(self, words: str) -> GuestProcess:
        return self._stack.enter_context(GuestProcess(self._host, f"nvscope {words}"))


@dataclass
class Seen:
    """What all have said.

    facts: VM -> what it caused; before, after: the exporter around the first two VMs; ftrace: its
    counts then, ftrace_end: at the end; tasks: trigger -> the pid of the kernel thread; results: by
    probe; rows: of the records' CSV; top: its screen while the two worked, and with a filter;
    compared: nvscope compare, of notifier_unmap's result with itself.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    before: Metrics | None = None
    after: Metrics | None = None
    ftrace: dict[str, dict[str, int]] = field(default_factory=dict)
    ftrace_end: dict[str, dict[str, int]] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)
    top: list[str] = field(default_factory=list)
    summary: str = ""
    refused: subprocess.CompletedProcess[str] | None = None
    compared: subprocess.CompletedProcess[str] | None = None


def watch(observed: Observed) -> Seen:
    """Start all, let VMs do what is to be seen, and end all, each in its own way."""
    host, exporter, _ = observed
    seen = Seen()
    with ExitStack() as stack:
        started = Started(host, stack)
        oracle(host, "start")
        stack.callback(oracle, host, "stop")
        seen.before = exporter.scrape()
        with two_vms(observed, started, seen):
            seen.refused = host.run("nvscope probe s2_fault --vm nobody", check=False)
        for name, number in (("s2_fault", signal.SIGINT), ("shadow_unmap", signal.SIGTERM)):
            seen.results[name] = started.finish(name, number)
        starve(host, seen)
        seen.results["revmap_record"] = started.finish("revmap_record", signal.SIGTERM)
        seen.rows = list(csv.DictReader(host.remote.fetch(CSV).decode().splitlines()))
        trigger(host, seen)
        stop_in_the_middle(host, started, seen)
        host.run(f"rm {JSON} {CSV}")
    return seen


@contextlib.contextmanager
def two_vms(observed: Observed, started: Started, seen: Seen) -> Iterator[None]:
    """They work at the same time; while the block runs they are still there."""
    host, exporter, _ = observed
    with ExitStack() as stack:
        guests = {}
        for name, unmaps in UNMAPS.items():
            options = ("--unmaps", str(unmaps), "--pace", str(PACE_SECONDS[name]))
            guests[name] = stack.enter_context(Synthetic(host, name, *options))
        both = "".join(rf"(?=.*\b{name} +{BUSY_ROW})" for name in UNMAPS)
        seen.top.append(started.top.await_match(f"(?s){both}", SEEN_SECONDS))
        for name, guest in guests.items():
            seen.facts[name] = guest.facts(SEEN_SECONDS)
        seen.after, seen.ftrace = exporter.scrape(), traced(host)
        yield
        for guest in guests.values():
            guest.release()
            assert guest.wait() == 0


# Unmaps a second, share of full ones, locked a second, refaults a second; none but the second is 0.
BUSY_ROW = r"[1-9][\d.]* +0 % +[1-9][\d.]* [nµm]?s +[1-9][\d.]* [nµm]?s"


def starve(host: Lab, seen: Seen) -> None:
    """A VM beside readers of BPF maps on each CPU, on which the kernel then runs no kprobes."""
    with ExitStack() as stack:
        reader = "python3 -m nvscope.lab.workloads.interference.mapreader"
        readers = [stack.enter_context(GuestProcess(host, reader)) for _ in range(2)]
        for process in readers:
            assert process.line(SEEN_SECONDS) == "reading"
        options = ("--unmaps", str(STARVED_UNMAPS), "--pace", "0.01")
        with Synthetic(host, STARVED, *options, hold=False) as guest:
            seen.facts[STARVED] = guest.facts(SEEN_SECONDS)
            assert guest.wait() == 0
        for process in readers:
            process.release()
            assert process.wait() == 0


def trigger(host: Lab, seen: Seen) -> None:
    """ksmd merges a VM's pages, a shell has that undone, kswapd takes pages; then it must be well.

    The VMM's own memory is merged and taken as well: that is no notifier of KVM's.
    """
    for word, name in (("ksm", "ksmd"), ("reclaim", "kswapd0")):
        seen.tasks[word] = host.run(f"pgrep -x {name}").stdout.strip()
    guest = ["python3", "-m", "nvscope.lab.workloads.main", "--payload", "/mnt/artifacts/l1.bin"]
    guest += ["-name", MERGED, "--unmaps", str(MERGED_UNMAPS), "--hold"]
    command = f"python3 -m nvscope.lab.workloads.interference.mergeable {shlex.join(guest)}"
    with GuestProcess(host, command) as process:
        seen.facts[MERGED] = json.loads(process.line(SEEN_SECONDS))
        host.run("sync; echo 3 > /proc/sys/vm/drop_caches")  # else kswapd takes these pages first
        host.run(merge_and_undo(seen.facts[MERGED]["pid"]))
        host.run(SWAP_ON)
        host.run(wake_kswapd(seen.tasks["reclaim"]))
        process.release()
        assert process.wait() == 0
    host.run(SWAP_OFF)


def merge_and_undo(pid: int) -> str:
    """Let KSM merge all that it finds of a process, which takes it two scans; then undo it."""
    return (
        f"cd {KSM}; echo 5000 > pages_to_scan; echo 1 > run;"
        f" until [ $(cat /proc/{pid}/ksm_merging_pages) -gt 500 ]; do sleep 0.2; done;"
        " scans=$(cat full_scans); until [ $(cat full_scans) -gt $((scans + 3)) ]; do sleep 0.2;"
        " done; echo 2 > run; echo 0 > run; echo 100 > pages_to_scan"
    )


def wake_kswapd(pid: str) -> str:
    """Have the kernel keep nearly all memory free, until ftrace has seen 100 notifiers of it."""
    seen = rf"common_pid: *{pid} }} hitcount: *[0-9]{{3}}"
    return (
        f"cd /proc/sys/vm; least=$(cat min_free_kbytes); swappiness=$(cat swappiness);"
        " echo 200 > swappiness; awk '/MemFree/ { print $2 }' /proc/meminfo > min_free_kbytes;"
        f" until grep -Eq '{seen}' {TRACEFS}/events/{GROUP}/notifier/hist;"
        " do head -c 1M /dev/zero > /tmp/wakes-it; rm /tmp/wakes-it; sleep 0.2; done;"
        " echo $least > min_free_kbytes; echo $swappiness > swappiness"
    )


def stop_in_the_middle(host: Lab, started: Started, seen: Seen) -> None:
    """Ctrl-C, and q, while a VM goes on."""
    with Synthetic(host, BUSY, "--forever", "--pace", "0.05") as guest:
        started.top.await_match(rf"\b{BUSY} +{BUSY_ROW}", SEEN_SECONDS)
        started.top.type(f"/{BUSY}\n")
        filtered = rf"(?s)filter '{BUSY}'(?!.*\b{MERGED}\b).*\b{BUSY} +[\d.]"
        seen.top.append(started.top.await_match(filtered, SEEN_SECONDS))
        started.top.type("q")
        assert started.top.wait(END_SECONDS) == 0
        started.notifier.type(CTRL_C)
        assert started.notifier.wait(END_SECONDS) == 0
        seen.summary = started.notifier.text()
        seen.results["notifier_unmap"] = json.loads(host.remote.fetch(JSON))
        seen.compared = host.run(f"nvscope compare {JSON} {JSON} {CONDITIONS}", check=False)
        guest.signal()
        seen.facts[BUSY] = guest.facts(SEEN_SECONDS)
        assert guest.wait() == 0
    seen.ftrace_end = traced(host)
