"""Ends of processes, heard in a thread: what is told, and what happens when nothing is heard."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Set

import pytest

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.vms import exits
from nvscope.exporter.vms.exits import SCRAPE, ExitWatcher
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.errors import LackError
from nvscope.probes.vms.exits.pidfds import PidFds
from nvscope.probes.vms.exits.procevents import Connector, Heard
from nvscope.probes.vms.identity import Process
from tests.unit.exporter.fakes import FakeProc, FakeSource, busy
from tests.unit.exporter.vms.ends import WAIT_SECONDS, NoticedSource, shown


class FakeWay:
    """Hears what a test says."""

    name = "connector"

    def __init__(self) -> None:
        self.watched: Set[int] = frozenset()
        self.closed = False
        self._said: queue.Queue[Heard | Exception] = queue.Queue()
        self._read, self._write = os.pipe()

    def say(self, heard: Heard | Exception) -> None:
        self._said.put(heard)
        os.write(self._write, b".")

    def fileno(self) -> int:
        return self._read

    def watch(self, pids: Set[int]) -> None:
        self.watched = set(pids)

    def read(self) -> Heard:
        os.read(self._read, 1)
        said = self._said.get()
        if isinstance(said, Exception):
            raise said
        return said

    def close(self) -> None:
        self.closed = True
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def proc(proc: FakeProc) -> FakeProc:
    for pid in (40, 50, 60):
        proc.start(pid, start=pid * 10)
    return proc


@pytest.fixture
def way() -> FakeWay:
    return FakeWay()


@pytest.fixture
def heard(proc: FakeProc, way: FakeWay, told: queue.Queue[Process]) -> Iterator[ExitWatcher]:
    with ExitWatcher(way, told.put) as heard:
        heard.watch({Process(pid * 10, pid) for pid in (40, 50, 60)})
        yield heard
    assert way.closed


def test_an_end_is_told(
    heard: ExitWatcher, way: FakeWay, proc: FakeProc, told: queue.Queue[Process]
) -> None:
    assert way.watched == {40, 50, 60}
    assert heard.name == "connector"
    proc.end(40)
    proc.start(40, start=9999)  # its pid has a new owner by now
    way.say(({40, 77}, False))
    assert told.get(timeout=WAIT_SECONDS) == Process(400, 40)
    assert heard.lost == 0


def test_the_end_of_a_thread_is_not_that_of_its_process(
    heard: ExitWatcher, way: FakeWay, proc: FakeProc, told: queue.Queue[Process]
) -> None:
    proc.start(40, start=400, state="Z", threads=2)
    way.say(({40, 50}, False))
    proc.end(60)
    way.say(({60}, False))
    assert told.get(timeout=WAIT_SECONDS).pid == 60
    assert told.empty()


def test_after_a_loss_all_are_looked_at(
    heard: ExitWatcher, way: FakeWay, proc: FakeProc, told: queue.Queue[Process]
) -> None:
    for pid in (40, 60):
        proc.end(pid)
    way.say((set(), True))
    assert {told.get(timeout=WAIT_SECONDS).pid for _ in range(2)} == {40, 60}
    assert heard.lost == 1


def test_nothing_will_be_heard_again(
    proc: FakeProc, way: FakeWay, told: queue.Queue[Process], caplog: pytest.LogCaptureFixture
) -> None:
    with ExitWatcher(way, told.put) as heard:
        way.say(OSError(9, "Bad file descriptor"))
        heard._thread.join(WAIT_SECONDS)
        assert not heard._thread.is_alive()
        assert heard.name == SCRAPE
        heard.watch({Process(400, 40)})
    assert "each scrape looks" in caplog.text


def test_a_look_that_fails_is_made_up_for_by_the_next_scrape(
    heard: ExitWatcher,
    way: FakeWay,
    proc: FakeProc,
    told: queue.Queue[Process],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive = Process.alive
    failing = iter([True])

    def sometimes(process: Process) -> bool:
        if next(failing, False):
            raise OSError(24, "Too many open files")
        return alive(process)

    monkeypatch.setattr(Process, "alive", sometimes)
    proc.end(40)
    way.say(({40}, False))
    way.say(({40}, False))
    assert told.get(timeout=WAIT_SECONDS).pid == 40
    assert heard.lost == 1


@pytest.mark.parametrize("error", [KeyError("VmKey(1, 40)"), LackError("unloaded")])
def test_a_listener_that_fails_is_no_end_of_hearing(
    proc: FakeProc, way: FakeWay, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    told: list[int] = []
    both = threading.Event()

    def fails_first(process: Process) -> None:
        told.append(process.pid)
        if len(told) == 1:
            raise error
        both.set()

    with ExitWatcher(way, fails_first) as heard:
        heard.watch({Process(pid * 10, pid) for pid in (40, 50)})
        for pid in (40, 50):
            proc.end(pid)
            way.say(({pid}, False))
        assert both.wait(WAIT_SECONDS)
        assert (heard.name, heard.lost, told) == ("connector", 1, [40, 50])
    assert "process 40: its end waits for the next scrape" in caplog.text


def test_a_thread_that_has_died_of_anything_is_seen(
    proc: FakeProc, way: FakeWay, caplog: pytest.LogCaptureFixture
) -> None:
    collector = VmCollector(FakeSource(busy(VmKey(1, 40))))
    with collector.hearing(way):
        assert shown(collector, "nvscope_process_events_source", source="connector") == [1]
        way.say(MemoryError())
        collector._exits._thread.join(WAIT_SECONDS)
        assert shown(collector, "nvscope_process_events_source", source="connector") == [0]
        assert shown(collector, "nvscope_process_events_source", source=SCRAPE) == [1]
    assert "processes are not heard end any more" in caplog.text
    assert "MemoryError" in caplog.text


def test_no_more_threads(
    way: FakeWay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, "start", lambda _: _refusing(error)())
    with ExitWatcher(way, lambda _: None) as heard:
        assert heard.name == SCRAPE
    assert way.closed
    assert "each scrape looks" in caplog.text


def test_what_cannot_be_watched_is_counted_and_said_once(
    proc: FakeProc, way: FakeWay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collector = VmCollector(FakeSource(busy(VmKey(1, 40))))
    with collector.hearing(way):
        with monkeypatch.context() as patch:
            patch.setattr(way, "watch", lambda _: _refusing(OSError(28, "No space left"))())
            for _ in range(2):
                assert shown(collector, "nvscope_up") == [1]
            assert caplog.text.count("not all ends of processes are heard") == 1
        assert shown(collector, "nvscope_process_events_lost_total") == [2]
        assert way.watched == {40}


def test_without_a_way_there_is_no_thread(told: queue.Queue[Process]) -> None:
    before = threading.active_count()
    with ExitWatcher(None, told.put) as heard:
        heard.watch({Process(1, 1)})
        assert heard.name == SCRAPE
        assert threading.active_count() == before


def _refusing(error: Exception) -> Callable[[], None]:
    def refuse() -> None:
        raise error

    return refuse


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),  # a network namespace of its own
        PermissionError(1, "Operation not permitted"),  # no CAP_NET_ADMIN on an older kernel
        TimeoutError("timed out"),  # a user namespace of its own
        ModuleNotFoundError("No module named 'pyroute2.netlink.connector'"),
        OSError(97, "Address family not supported by protocol"),  # RestrictAddressFamilies=
    ],
)
def test_the_next_best_way(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlike(kind: type[Connector] | type[PidFds]) -> None:
        monkeypatch.setattr(kind, "__init__", lambda _: _refusing(error)())

    unlike(Connector)
    way = exits.best_way()
    assert isinstance(way, PidFds)
    way.close()
    unlike(PidFds)
    assert exits.best_way() is None


def test_another_pyroute2_is_no_reason_not_to_serve(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = AttributeError("module has no attribute 'ProcEventMarshal'")
    monkeypatch.setattr(Connector, "__init__", lambda _: _refusing(error)())
    way = exits.best_way()
    assert isinstance(way, PidFds)
    way.close()
    assert "ProcEventMarshal" in caplog.text


def test_the_last_counts_of_those_past_the_bound_are_kept(proc: FakeProc, way: FakeWay) -> None:
    one, other = VmKey(1, 40), VmKey(2, 50)
    source = NoticedSource(one)
    source.counts = busy(one, other)
    collector = VmCollector(source, 1)
    with collector.hearing(way):
        collector.collect()
        for pid in (50, 40):
            proc.end(pid)
        way.say(({50}, False))
        way.say(({40}, False))
        assert source.dropped.wait(WAIT_SECONDS)
        assert source.forgotten == [one]
        collector.collect()
        assert set(source.forgotten) == {one, other}
