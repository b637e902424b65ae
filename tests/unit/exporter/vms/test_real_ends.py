"""Ends of real processes, by each way there is to hear of them."""

from __future__ import annotations

import queue
import subprocess
import sys
import time

import psutil
import pytest

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.vms.exits import ExitWatcher
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.vms import identity
from nvscope.probes.vms.exits import procevents
from nvscope.probes.vms.exits.pidfds import PidFds
from nvscope.probes.vms.exits.procevents import Connector
from nvscope.probes.vms.identity import Process
from tests.unit.exporter.vms.ends import WAIT_SECONDS, NoticedSource, shown


def _real(kind: type[Connector] | type[PidFds]) -> procevents.Way:
    try:
        return kind()
    except (ImportError, OSError) as error:
        pytest.skip(f"not to be had here: {error}")


@pytest.mark.parametrize("kind", [Connector, PidFds])
def test_a_real_vms_counts_are_dropped_before_the_next_scrape(
    kind: type[Connector] | type[PidFds],
) -> None:
    way = _real(kind)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()", "-name", "db"], stdin=subprocess.PIPE
    )
    source = NoticedSource(VmKey(1, child.pid))
    collector = VmCollector(source)

    with child, collector.hearing(way):
        assert shown(collector, "nvscope_vm_info", vm="db") == [1]
        assert shown(collector, "nvscope_process_events_source", source=kind.name) == [1]
        child.kill()
        assert source.dropped.wait(WAIT_SECONDS)
        assert source.forgotten == [VmKey(1, child.pid)]
        # Not yet reaped, and still read.
        assert shown(collector, "nvscope_vm_info") == []
        assert shown(collector, "nvscope_vm_events_total", kind="ended") == [1]
        assert shown(collector, "nvscope_process_events_lost_total") == [0]


# Its first thread ends by the system call exit, which ends no other; the second when it has read.
FIRST_ENDS = """
import _thread, ctypes, platform, sys
def last():
    print("second", flush=True)
    sys.stdin.read()
_thread.start_new_thread(last, ())
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""


def _is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("kind", [Connector, PidFds])
def test_a_process_whose_first_thread_ends_first(
    kind: type[Connector] | type[PidFds], told: queue.Queue[Process]
) -> None:
    way, pipe = _real(kind), subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", FIRST_ENDS], stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    process = identity._look(child.pid)
    assert process is not None
    with child, ExitWatcher(way, told.put) as heard:
        heard.watch({process})
        child.stdout.readline()
        deadline = time.monotonic() + WAIT_SECONDS
        while not _is_zombie(child.pid):
            assert time.monotonic() < deadline
        assert process.alive()
        assert told.empty()
        child.stdin.close()
        assert told.get(timeout=WAIT_SECONDS) == process
