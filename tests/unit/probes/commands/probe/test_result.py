"""What probe and top write for programs; slow calls one by one."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

import nvscope
from nvscope.probes.commands.probe import result, slow
from nvscope.probes.commands.probe.kinds import KINDS
from nvscope.probes.commands.probe.meter import Asked, Interval
from nvscope.probes.commands.probe.slow import SlowCalls
from nvscope.probes.commands.top import cli as top
from nvscope.probes.commands.top.rates import cells
from nvscope.probes.commands.top.view import State
from nvscope.probes.counts import decode
from nvscope.probes.counts.durations import total
from nvscope.probes.counts.snapshot import SLOTS, Attachment, VmKey
from nvscope.probes.errors import shown
from nvscope.probes.vms.changes import Changes
from nvscope.probes.vms.names_seen import VmNames
from tests.unit.exporter.fakes import FakeProc
from tests.unit.probes.commands.probe.fakes import ALPHA, BETA, HOST, Script, busy, calls, unmaps

ASKED = Asked(KINDS["notifier_unmap"], ("vm", "trigger"))
MEASURED = Interval(
    2.5,
    {("b,eta", "vmm"): calls(300), ("alpha", "vmm"): total([calls(9, 3), calls(1 << 20)])},
    {"vm_full": 0, "recursion": 2},
)
ADDRESSES = {
    1: "bpf_prog_1_kretfunc+0x5",
    2: "kvm_unmap_gfn_range+0x8",
    3: "do_madvise+0x114",
    4: "kretprobe_dispatcher+0x84",
    5: "el1h_64_sync+0x6c",
}


@pytest.fixture(autouse=True)
def proc(proc: FakeProc) -> FakeProc:
    proc.start(77, b"qemu\0-name\0alpha\0")
    return proc


def slots(**counts: int) -> list[int]:
    return [counts.get(f"s{i}", 0) for i in range(SLOTS)]


def test_json() -> None:
    stream = io.StringIO()
    attached = Attachment("notifier_unmap", "kvm_unmap_gfn_range", "fentry")
    result.write_json(stream, result.as_dict(ASKED, HOST, 123, MEASURED, attached=attached))
    assert json.loads(stream.getvalue()) == {
        "nvscope": nvscope.__version__,
        "kind": "probe",
        "probe": "notifier_unmap",
        "hook": "kvm_unmap_gfn_range",
        "mechanism": "fentry",
        "includes": "",
        "started_unix_ns": 123,
        "seconds": 2.5,
        "host": {"kernel": "7.3.4", "arch": "aarch64", "revmap": "maple"},
        "by": ["vm", "trigger"],
        "lost": {"vm_full": 0, "recursion": 2},
        "groups": [
            {
                "labels": {"vm": "alpha", "trigger": "vmm"},
                "count": 4,
                "sum_ns": 27 + (1 << 20),
                "slots": slots(s4=3, s21=1),
                "percentiles_ns": {
                    "50": [8, 16],
                    "90": [1 << 20, 1 << 21],
                    "99": [1 << 20, 1 << 21],
                    "99.9": [1 << 20, 1 << 21],
                },
            },
            {
                "labels": {"vm": "b,eta", "trigger": "vmm"},
                "count": 1,
                "sum_ns": 300,
                "slots": slots(s9=1),
                "percentiles_ns": {name: [256, 512] for name in ("50", "90", "99", "99.9")},
            },
        ],
        "slow": [],
        "slow_dropped": 0,
    }


def test_json_of_nothing() -> None:
    found = result.as_dict(ASKED, HOST, 123, Interval(1.0, {}, {"vm_full": 0}))
    assert (found["groups"], found["lost"]) == ([], {"vm_full": 0})


def test_csv() -> None:
    stream = io.StringIO()
    rows = result.Rows(stream, ASKED.by)
    rows.add(MEASURED)
    rows.add(Interval(1.0))
    header, alpha, beta = csv.reader(stream.getvalue().splitlines())
    assert header == [
        "unix_seconds", "seconds", "vm", "trigger", "count", "sum_ns",
        "p50_low_ns", "p50_high_ns", "p90_low_ns", "p90_high_ns",
        "p99_low_ns", "p99_high_ns", "p99.9_low_ns", "p99.9_high_ns", "lost",
    ]  # fmt: skip
    assert alpha[1:8] == ["2.500000", "alpha", "vmm", "4", str(27 + (1 << 20)), "8", "16"]
    assert beta[2:6] == ["b,eta", "vmm", "1", "300"]
    assert (alpha[-1], beta[-1]) == ("2", "2")


@pytest.mark.parametrize(
    "name",
    ['=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1"],
)
def test_csv_has_no_formulas(name: str) -> None:
    """A guest names itself, and a spreadsheet runs what begins like one."""
    stream = io.StringIO()
    result.Rows(stream, ASKED.by).add(Interval(1.0, {(name, "vmm"): calls(9)}))
    _, row = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert row[2:4] == [f"'{shown(name)}", "vmm"]


def test_other_names_are_as_they_are_in_csv() -> None:
    for name in ("", "db", "a=1", "1-1", "'x", "ä@b", "db@7"):
        assert result.plain_text(name) == name


def event(vm: VmKey, stack: tuple[int, ...] = (1, 1, 2, 3), **values: Any) -> bytes:
    call = decode.SlowCall(decode.Event(kvm=vm.kvm, pid=vm.pid, **values), 1, 8 * len(stack))
    call.stack[: len(stack)] = stack
    return bytes(call)


def taken(probe: str, raw: bytes, *vms: str) -> SlowCalls:
    found = SlowCalls(probe, vms, ADDRESSES.__getitem__)
    names = VmNames()
    new = slow.calls(raw)
    names.add(map(slow.key_of, new))
    found.take(new, names, 1000)
    return found


def test_a_slow_call() -> None:
    raw = event(
        ALPHA, time_ns=5, duration_ns=1500, canonical_ipa=0x40000000, size=4096,
        comm=b"CPU 0/\x1b[1m", tid=78, cpu=1,
    )  # fmt: skip
    (call,) = taken("notifier_unmap", raw).kept
    assert call.as_dict() == {
        "unix_ns": 1005,
        "vm": "alpha",
        "duration_ns": 1500,
        "canonical_ipa": 0x40000000,
        "size": 4096,
        "trigger": "vmm",
        "comm": "CPU 0/\N{REPLACEMENT CHARACTER}[1m",
        "tid": 78,
        "cpu": 1,
        "stack": ["kvm_unmap_gfn_range+0x8", "do_madvise+0x114"],
    }
    head, *stack = call.lines()
    assert head.endswith(
        " alpha: 1.5 µs, canonical_ipa 0x40000000 size 0x1000,"
        " by vmm: CPU 0/\N{REPLACEMENT CHARACTER}[1m 78"
    )
    assert stack == ["    kvm_unmap_gfn_range+0x8", "    do_madvise+0x114"]


@pytest.mark.parametrize(
    ("probe", "values", "of"),
    [
        ("s2_fault", {"canonical_ipa": 9}, {"canonical_ipa": 9, "result": 0}),
        (
            "s2_fault",
            {"canonical_ipa": 9, "mmu": 5, "nested_ipa": 7, "result": -14},
            {"canonical_ipa": 9, "mmu": 5, "nested_ipa": 7, "result": -14},
        ),
        (
            "shadow_unmap",
            {"mmu": 5, "nested_ipa": 0, "size": 1 << 48, "full": 1, "detail": 1},
            {"mmu": 5, "nested_ipa": 0, "size": 1 << 48, "scope": "full", "within": "notifier"},
        ),
        (
            "revmap_record",
            {"mmu": 5, "canonical_ipa": 9, "nested_ipa": 7, "size": 4096, "detail": 3},
            {
                "mmu": 5,
                "canonical_ipa": 9,
                "nested_ipa": 7,
                "size": 4096,
                "outcome": "overlapped",
            },
        ),
    ],
)
def test_what_a_slow_call_was_about(
    probe: str, values: dict[str, int], of: dict[str, int | str]
) -> None:
    (call,) = taken(probe, event(ALPHA, **values)).kept
    assert call.of == of


@pytest.mark.parametrize(
    ("stack", "shown"),
    [((1, 4, 5, 2, 1, 3), (2, 3)), ((2, 5, 3), (2, 5, 3)), ((1, 4), ()), ((), ())],
)
def test_a_stack_begins_where_the_kernels_does(
    stack: tuple[int, ...], shown: tuple[int, ...]
) -> None:
    """An exception further down is the kernel's own."""
    (call,) = taken("notifier_unmap", event(ALPHA, stack)).kept
    assert call.stack == tuple(ADDRESSES[each] for each in shown)


def test_a_stack_that_could_not_be_taken() -> None:
    call = decode.SlowCall(decode.Event(kvm=ALPHA.kvm, pid=ALPHA.pid), 0, -14)
    assert taken("notifier_unmap", bytes(call)).kept[0].stack == ()


def test_slow_calls_of_other_vms_are_left_out() -> None:
    found = taken("notifier_unmap", event(ALPHA) + event(BETA), "alpha")
    assert [call.vm for call in found.kept] == ["alpha"]
    assert found.dropped == 0


def test_slow_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "MAX_KEPT", 3)
    found = taken("notifier_unmap", event(ALPHA) * 5)
    assert (len(found.kept), found.dropped) == (3, 2)


def test_a_frame_of_top() -> None:
    changes = Changes(Script([unmaps(), busy(ALPHA, 10)]), cells("maple"))
    frame = top.frames(changes)()
    found = top.as_dict(frame, HOST, State())
    assert (found["kind"], found["host"]["revmap"], found["lost"]) == (
        "top",
        "maple",
        {"vm_full": 0},
    )
    (row,) = found["vms"]
    per_second = {name: n for name, n in row.items() if name.endswith("_per_second")}
    fallbacks = per_second.pop("fallbacks_per_second")
    totals = {name: round(n * frame.seconds, 9) for name, n in per_second.items()}
    assert totals == {
        "unmaps_per_second": 10,
        "full_per_second": 5,
        "ranged_per_second": 5,
        "locked_seconds_per_second": 0.01,
        "refaults_per_second": 10,
        "refault_seconds_per_second": 0.0001,
    }
    assert fallbacks["broken"] * frame.seconds == pytest.approx(5)
    assert (row["vm"], row["pid"], row["full_share"]) == ("alpha", 77, 0.5)


def test_a_vm_at_rest_has_a_row_in_top() -> None:
    changes = Changes(Script([busy(ALPHA, 10)]), cells("none"))
    (row,) = top.frames(changes)().rows
    assert (row.vm.label, row.unmaps, row.full_share) == ("alpha", 0, None)


def test_without_a_reverse_map_no_full_unmap_is_a_fallback() -> None:
    changes = Changes(Script([unmaps(), busy(ALPHA, 10)]), cells("none"))
    assert list(top.frames(changes)().rows[0].fallbacks) == ["no_revmap"]
