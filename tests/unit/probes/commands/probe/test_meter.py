"""Differences of snapshots, and whose they are, while VMs come and go."""

from __future__ import annotations

import pytest

from nvscope.probes.commands.probe.kinds import KINDS
from nvscope.probes.commands.probe.meter import Asked, Meter
from nvscope.probes.counts.durations import total
from tests.unit.exporter.fakes import FakeProc, busy
from tests.unit.probes.commands.probe.fakes import ALPHA, BETA, Script, calls, unmaps

NOTIFIER = KINDS["notifier_unmap"]


@pytest.fixture
def proc(proc: FakeProc) -> FakeProc:
    proc.start(77, b"qemu\0-name\0alpha\0")
    return proc


def test_what_was_there_before_is_not_counted(proc: FakeProc) -> None:
    script = Script(
        [
            unmaps((ALPHA, calls(100, 5), ""), vm_full=2),
            unmaps((ALPHA, calls(100, 7), ""), vm_full=5),
            unmaps((ALPHA, total([calls(100, 7), calls(9)]), ""), vm_full=5),
        ]
    )
    meter = Meter(script, Asked(NOTIFIER), "none")
    first = meter.step()
    assert (first.groups, first.lost) == ({("alpha",): calls(100, 2)}, {"vm_full": 3})
    second = meter.step()
    assert (second.groups, second.lost) == ({("alpha",): calls(9)}, {"vm_full": 0})
    assert meter.total.groups == {("alpha",): total([calls(100, 2), calls(9)])}
    assert meter.total.lost == {"vm_full": 3}
    assert meter.total.seconds == pytest.approx(first.seconds + second.seconds)
    assert meter.step().groups == {}


def test_a_vm_that_appears_counts_from_zero(proc: FakeProc) -> None:
    script = Script([unmaps(), unmaps((ALPHA, calls(100, 7), ""))])
    meter = Meter(script, Asked(NOTIFIER), "none")
    assert meter.step().groups == {("alpha",): calls(100, 7)}


def test_what_a_vm_did_outlives_it(proc: FakeProc) -> None:
    last = unmaps((ALPHA, calls(100, 9), ""))
    script = Script([unmaps(), unmaps((ALPHA, calls(100, 7), "")), last, last, unmaps()])
    meter = Meter(script, Asked(NOTIFIER), "none")
    meter.step()
    proc.end(77)
    assert meter.step().groups == {("alpha",): calls(100, 2)}
    assert script.forgotten == []  # it may have gone on after the snapshot
    meter.step()
    assert script.forgotten == [ALPHA]
    meter.step()
    assert meter.total.groups == {("alpha",): calls(100, 9)}
    assert script.forgotten == [ALPHA]


def test_a_vm_that_nobody_could_look_at_is_called_by_its_pid(proc: FakeProc) -> None:
    meter = Meter(Script([unmaps(), unmaps((BETA, calls(1), ""))]), Asked(NOTIFIER), "none")
    assert meter.step().groups == {("pid 88",): calls(1)}


def test_a_later_vm_of_the_same_pid_is_another_one(proc: FakeProc) -> None:
    """The same struct kvm too, and fewer calls than before: its rows began anew."""
    old, new = unmaps((ALPHA, calls(100, 7), "")), unmaps((ALPHA, calls(100, 3), ""))
    meter = Meter(Script([unmaps(), old, old, unmaps(), new]), Asked(NOTIFIER), "none")
    meter.step()
    proc.end(77)
    proc.start(77, b"qemu\0-name\0other\0", start=900)
    meter.step()
    meter.step()
    assert meter.step().groups == {("other",): calls(100, 3)}
    assert meter.total.groups == {("alpha",): calls(100, 7), ("other",): calls(100, 3)}


def test_rows_that_a_new_vm_fills_at_once(proc: FakeProc) -> None:
    """They have begun anew between two looks; the first of the new VM's are its own."""
    old = unmaps((ALPHA, calls(100, 7), ""))
    meter = Meter(Script([old, unmaps((ALPHA, calls(100, 3), ""))]), Asked(NOTIFIER), "none")
    assert meter.step().groups == {("alpha",): calls(100, 3)}


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (("vm",), {("alpha",): 3, ("pid 88",): 4}),
        (("trigger",), {("reclaim",): 5, ("vmm",): 2}),
        (
            ("trigger", "vm"),
            {("vmm", "alpha"): 2, ("reclaim", "alpha"): 1, ("reclaim", "pid 88"): 4},
        ),
    ],
)
def test_groups(proc: FakeProc, by: tuple[str, ...], groups: dict[tuple[str, ...], int]) -> None:
    rows = unmaps(
        (ALPHA, calls(1, 2), "vmm"), (ALPHA, calls(1), "reclaim"), (BETA, calls(1, 4), "reclaim")
    )
    meter = Meter(Script([unmaps(), rows]), Asked(NOTIFIER, by), "none")
    assert {labels: d.count for labels, d in meter.step().groups.items()} == groups


@pytest.mark.parametrize("wanted", ["alpha", "77", "6f9619ff-8b86-d011-b42d-00c04fc964ff"])
def test_only_the_vm_that_is_asked_for(proc: FakeProc, wanted: str) -> None:
    """It begins later than the probe."""
    uuid = b"-uuid\0006F9619FF-8B86-D011-B42D-00C04FC964FF\0"
    proc.start(77, b"qemu\0-name\0alpha\0" + uuid)
    rows = unmaps((ALPHA, calls(1, 2), ""), (BETA, calls(1, 4), ""))
    meter = Meter(Script([unmaps(), rows]), Asked(NOTIFIER, ("vm",), (wanted,)), "none")
    assert meter.step().groups == {("alpha",): calls(1, 2)}


def test_each_kind_gives_the_axes_that_it_has() -> None:
    for kind in KINDS.values():
        rows = list(kind.rows(busy(ALPHA, BETA), "maple"))
        assert rows
        assert all(set(labels) == set(kind.axes) for _, labels, _ in rows)
        assert set(kind.marks) <= set(kind.axes)
        assert kind.attached(kind.axes)[0] == kind.name
