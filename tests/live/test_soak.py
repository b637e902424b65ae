"""The exporter under load for a while: it grows by nothing, loses nothing, and counts all.

Three minutes here; NVSCOPE_SOAK_SECONDS=3600 for an hour, then beside a Linux in a Linux of which
pages are taken all the time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

import pytest

from nvscope.lab.host.services import Exporter, Linux, Synthetic
from nvscope.lab.host.vm import Lab
from tests.live.conftest import Observed
from tests.live.counts import UNMAPS, assert_all_agree, oracle

SECONDS = float(os.environ.get("NVSCOPE_SOAK_SECONDS", "180"))
LONG_SECONDS = 1200
BOOT_SECONDS = 420
INTERVAL_SECONDS = 1
SETTLE = 0.25  # of the time, after which memory is to stay as it is
GROWTH_BYTES = 1 << 20
PACE = "0.02"  # seconds: half of a CPU is left to others


def scraped(exporter: Exporter, seconds: float) -> list[float]:
    """The exporter's memory at each scrape, in bytes; no scrape has lost anything."""
    resident, end = [], time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        metrics = exporter.scrape()
        assert metrics.sum("nvscope_up") == 1
        assert metrics.sum("nvscope_events_lost_total") == 0
        resident.append(metrics.sum("process_resident_memory_bytes"))
        time.sleep(max(0, began + INTERVAL_SECONDS - time.monotonic()))
    return resident


def freeze(host: Lab, pids: Iterable[int]) -> None:
    """Stop processes, system calls that are under way included: they cause nothing more."""
    words = " ".join(map(str, pids))
    host.run(
        f"kill -STOP {words}; for pid in {words}; do"
        " until grep -q '^State:.T' /proc/$pid/status; do sleep 0.1; done; done",
        timeout=120,
    )


@pytest.mark.timeout(SECONDS + 900)
@pytest.mark.parametrize("observed", ["lab-fentry"], indirect=True)
def test_a_soak(observed: Observed) -> None:
    host, exporter, _ = observed
    oracle(host, "start")
    with contextlib.ExitStack() as stack:
        others: list[int] = []
        if SECONDS >= LONG_SECONDS:
            linux = stack.enter_context(Linux(host, "soaked-linux", "--forever"))
            others = [linux.pid, linux.event(BOOT_SECONDS)["pid"]]
        options = ("--forever", "--seconds", str(SECONDS), "--pace", PACE)
        guest = stack.enter_context(Synthetic(host, "soaked", *options))
        resident = scraped(exporter, SECONDS)
        facts = guest.facts(120)  # it stays, and with it its series
        if others:
            freeze(host, others)
        metrics = exporter.scrape()
        seen = oracle(host, "stop")
    assert facts["unmaps"] > SECONDS
    assert_all_agree(facts, metrics, None if others else seen)
    assert metrics.sum(f"{UNMAPS}_count") == sum(seen["notifier"].values())
    if others:
        assert metrics.sum(f"{UNMAPS}_count", vm="soaked-linux") > SECONDS / 10
    settled = resident[int(len(resident) * SETTLE) :]
    print(len(resident), settled[0], settled[-1], facts["unmaps"])
    assert max(settled) - settled[0] < GROWTH_BYTES
