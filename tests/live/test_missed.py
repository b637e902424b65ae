"""Calls whose end the programs do not see: what comes after them is told by what it ran within."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from nvscope.lab.host.services import Exporter, GuestProcess, Synthetic
from nvscope.lab.host.vm import Lab
from tests.live.counts import SCOPES, SHADOW_UNMAPS, UNMAPS, WITHIN

# Somebody else's program at the same function's return: with one there the kernel's trampoline
# calls the function, as it does while ours is there, and else jumps to it.
OTHER = """
import os, sys
from nvscope.probes.points import sources
os.environ["BCC_KERNEL_SOURCE"] = str(sources.HEADERS)
import bcc
name = "kretfunc__vmlinux__kvm_unmap_gfn_range"
bpf = bcc.BPF(text=f"int {name}(unsigned long long *ctx) {{ return 0; }}")
print("tracing", flush=True)
sys.stdin.read()
"""
EXIT = "notifier_unmap_exit"
ROUNDS = 13
LOAD_SECONDS, COMPILE_SECONDS, PLAY_SECONDS, DETACH_SECONDS = 300, 120, 300, 20


@pytest.fixture(autouse=True)
def unloaded(lab_host: Lab) -> Iterator[None]:
    """Whatever a test has left."""
    yield
    lab_host.run("nvscope unload")


def take_away_the_end(lab: Lab, exporter: Exporter) -> None:
    """As if it were skipped each time; it is detached a moment after its link has gone."""
    lab.run(f"rm /run/nvscope/bpf/current/links/{EXIT}")
    deadline = time.monotonic() + DETACH_SECONDS
    while EXIT in exporter.scrape().values("nvscope_program_runs_total", "program"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("mechanism", ["fentry", "kprobe"])
def test_unmaps_after_a_missed_end(lab_host: Lab, mechanism: str) -> None:
    lab_host.run(f"nvscope load --strict --mechanism {mechanism}", timeout=LOAD_SECONDS)
    with (
        GuestProcess(lab_host, f"python3 -c '{OTHER}'") as tracing,
        Exporter(lab_host, "--pinned") as exporter,
    ):
        assert tracing.line(COMPILE_SECONDS) == "tracing"
        take_away_the_end(lab_host, exporter)
        options = ("--rounds", str(ROUNDS))
        with Synthetic(lab_host, "turns", *options, script="turns") as guest:
            expected = guest.facts(PLAY_SECONDS)["expected"]
            metrics = exporter.scrape()
    print(metrics.exposition, expected)
    lost = metrics.values("nvscope_events_lost_total", "cause")
    assert {cause: count for cause, count in lost.items() if count} == {"missed_exit": ROUNDS}
    assert metrics.sum(f"{UNMAPS}_count", vm="turns") == 0
    for scope in SCOPES:
        for word, label in {**WITHIN, "other": "other"}.items():
            found = metrics.sum(SHADOW_UNMAPS, vm="turns", scope=scope, within=label)
            assert found == expected.get(f"{scope}_unmaps_{word}", 0), (scope, label)
