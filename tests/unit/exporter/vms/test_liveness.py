"""Which VMs are alive: ended ones stay hidden while they are read, and nothing is left behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvscope.exporter.vms.liveness import Liveness
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.vms.identity import OTHER, Process
from tests.unit.exporter.fakes import FakeProc

DB, WEB = VmKey(1, 40), VmKey(2, 50)


def start(proc: FakeProc, pid: int, name: str, ticks: int = 100) -> None:
    proc.start(pid, f"vmm\0-name\0{name}\0".encode(), start=ticks)


def labels(liveness: Liveness, **counts: int) -> set[str]:
    keys = {"db": DB, "web": WEB}
    return {vm.label for vm in liveness.look({keys[k]: n for k, n in counts.items()}).values()}


def test_ended_is_hidden_as_long_as_it_is_read(proc: FakeProc) -> None:
    start(proc, 40, "db")
    liveness = Liveness()
    assert labels(liveness, db=5) == {"db"}
    proc.end(40)
    for _ in range(3):
        assert labels(liveness, db=5) == set()
        assert liveness.hidden() == {DB}
    assert labels(liveness) == set()
    assert liveness.hidden() == set()
    assert (liveness.started, liveness.ended) == (1, 1)


def test_reused_pid_between_two_looks(proc: FakeProc) -> None:
    start(proc, 40, "db", 100)
    liveness = Liveness()
    labels(liveness, db=5)
    proc.end(40)
    start(proc, 40, "shell", 999)
    for _ in range(3):  # the counts are still db's
        assert labels(liveness, db=6) == set()
    # They move again: a VM of the new process, which has the same struct kvm.
    assert labels(liveness, db=7) == {"shell"}
    assert (liveness.started, liveness.ended) == (2, 1)


def test_reused_pid_and_struct_kvm_whose_counts_began_anew(proc: FakeProc) -> None:
    start(proc, 40, "db", 100)
    start(proc, 50, "web", 100)
    liveness = Liveness()
    labels(liveness, db=5, web=5)
    for pid, name in ((40, "new"), (50, "shell")):
        proc.end(pid)
        start(proc, pid, name, 999)
    assert labels(liveness, db=1, web=5) == {"new"}
    assert labels(liveness, db=2, web=5) == {"new"}
    assert (liveness.started, liveness.ended) == (3, 2)


def test_an_end_that_was_heard(proc: FakeProc) -> None:
    start(proc, 40, "db", 100)
    liveness = Liveness()
    labels(liveness, db=5)
    proc.end(40)
    assert liveness.end(Process(100, 41)) == set()
    assert liveness.end(Process(100, 40)) == {DB}
    assert liveness.end(Process(100, 40)) == set()
    assert liveness.processes() == frozenset()
    start(proc, 40, "shell", 999)
    # It went on until its end: that is no sign of a new VM.
    assert labels(liveness, db=8) == set()
    assert labels(liveness, db=8) == set()
    assert (liveness.started, liveness.ended) == (1, 1)


def test_an_end_that_was_heard_and_a_new_vm_with_the_same_key(proc: FakeProc) -> None:
    start(proc, 40, "db", 100)
    liveness = Liveness()
    labels(liveness, db=5)
    liveness.end(Process(100, 40))
    start(proc, 40, "new", 999)
    assert labels(liveness, db=2) == {"new"}
    assert liveness.hidden() == set()


def test_one_that_ended_before_it_was_seen(proc: FakeProc) -> None:
    liveness = Liveness()
    assert labels(liveness, db=5) == set()
    start(proc, 40, "shell")
    assert labels(liveness, db=5) == set()
    assert (liveness.started, liveness.ended) == (0, 0)


def test_a_vm_that_ends_while_its_process_goes_on(proc: FakeProc) -> None:
    start(proc, 40, "db")
    liveness = Liveness()
    labels(liveness, db=5)
    assert labels(liveness) == set()
    assert labels(liveness, db=1) == {"db"}
    assert (liveness.started, liveness.ended) == (2, 1)


def test_two_vms_in_one_process(proc: FakeProc) -> None:
    start(proc, 40, "db")
    proc.thread(43, 40)
    liveness, one, two = Liveness(), VmKey(1, 40), VmKey(2, 43)
    assert {vm.label for vm in liveness.look({one: 1, two: 1}).values()} == {"db", "db@40"}
    assert liveness.processes() == {Process(100, 40)}
    assert liveness.end(Process(100, 40)) == {one, two}
    assert liveness.ended == 2


def test_past_the_bound(proc: FakeProc) -> None:
    start(proc, 40, "other", 200)
    start(proc, 50, "web", 300)
    liveness = Liveness(most=1)
    vms = liveness.look({DB: 1, WEB: 1})
    assert vms[DB].label == "other@40", "no VM's own name is that of all others"
    assert vms[WEB] is OTHER
    # As long as it liveness, also where there is room again.
    proc.end(40)
    assert liveness.look({DB: 1, WEB: 1}) == {WEB: OTHER}
    start(proc, 60, "new", 400)
    assert liveness.look({WEB: 1, VmKey(3, 60): 1})[VmKey(3, 60)].label == "new"


def test_a_clock_set_back(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    start(proc, 40, "db")
    liveness = Liveness()
    labels(liveness, db=1)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    (proc.root / "stat").write_text("cpu 0 0 0 0 0 0 0 0 0 0\nbtime 7\n")
    assert labels(liveness, db=2) == {"db"}
    start(proc, 50, "web")
    assert labels(liveness, db=3, web=1) == {"db", "web"}
    assert (liveness.started, liveness.ended) == (2, 0)


def test_no_room_for_files_is_no_end(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    start(proc, 40, "db")
    liveness = Liveness()
    labels(liveness, db=1)

    def full(_: Path) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", full)
        with pytest.raises(OSError, match="Too many"):
            labels(liveness, db=2)
    assert labels(liveness, db=3) == {"db"}
    assert (liveness.started, liveness.ended) == (1, 0)


@pytest.mark.parametrize("reads", range(1, 12))
def test_a_look_that_fails_half_way_changes_nothing(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    """Whatever read of /proc is the first that finds no file left."""
    start(proc, 40, "db")
    start(proc, 50, "web")
    liveness = Liveness()
    liveness.look({DB: 1, WEB: 1})
    proc.end(50)
    start(proc, 50, "web", 999)
    start(proc, 60, "new", 400)
    new = VmKey(3, 60)
    left = iter(range(reads))
    opened = open

    def few(file: object, *rest: object, **named: object) -> object:
        if str(file).startswith(str(proc.root)) and next(left, None) is None:
            raise OSError(24, "Too many open files")
        return opened(file, *rest, **named)  # type: ignore[call-overload]

    before = (liveness.processes(), set(liveness.hidden()), liveness.started, liveness.ended)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: few(path, "rb").read())  # type: ignore[attr-defined]
        failed = False
        try:
            liveness.look({DB: 0, WEB: 1, new: 1})
        except OSError:
            failed = True
    if failed:
        assert (
            liveness.processes(),
            set(liveness.hidden()),
            liveness.started,
            liveness.ended,
        ) == before
        assert liveness.end(Process(400, 60)) == set(), "what was not shown cannot end"
    assert liveness.end(Process(100, 50)) == ({WEB} if failed else set())
    assert liveness.look({DB: 0, WEB: 1, new: 1}).keys() == {DB, new}
    assert (liveness.started, liveness.ended) == (3, 1)


# What happens to each of three pids: nothing, an end, a start (of another process, where one ran);
# whether that end is heard; and what is counted of each VM, or that nothing is read.
_STEPS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["", "end", "start", "heard"]), min_size=3, max_size=3),
        st.lists(st.none() | st.integers(0, 4), min_size=3, max_size=3),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_STEPS)
def test_whatever_happens(proc: FakeProc, steps: list[tuple[list[str], list[int | None]]]) -> None:
    liveness, running, ticks = Liveness(most=2), dict.fromkeys((40, 50, 60), 0), 0
    for events, counted in steps:
        for pid, event in zip(running, events, strict=True):
            ticks += 1
            if event and running[pid]:
                proc.end(pid)
                if event == "heard":
                    liveness.end(Process(running[pid], pid))
                running[pid] = 0
            if event == "start":
                start(proc, pid, "vm", ticks)
                running[pid] = ticks
        read = {
            VmKey(pid, pid): n for pid, n in zip(running, counted, strict=True) if n is not None
        }
        vms = liveness.look(read)
        assert all(running[key.pid] for key in vms), "one is alive that is not"
        assert set(vms) | set(liveness.hidden()) == set(read)
        assert not set(vms) & set(liveness.hidden())
        own = [vm.label for vm in vms.values() if vm is not OTHER]
        assert len(own) == len(set(own)) <= 2
        assert liveness.started - liveness.ended == len(vms)
        assert liveness.processes() == {Process(running[key.pid], key.pid) for key in vms}
    for pid, ran in running.items():
        if ran:
            proc.end(pid)
