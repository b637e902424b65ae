"""Which writes to the counts are contended, by layout."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import lines
from bench.lines import (
    LAYOUTS,
    LINE_BYTES,
    SLOT_BYTES,
    SLOTS_AT,
    STRIPES,
    Call,
    made_up,
    main,
    of_trace,
    simulate,
)
from nvscope.probes.counts.snapshot import SLOTS
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import Writer, columns_of

SHARED, STRIPED, BY_TASK, OWN = LAYOUTS.values()
VM, MMU = 7, 9


def faults(*cpus: int, ns: int = 1000, mmu: int = 0) -> list[Call]:
    """Of a task for each CPU."""
    return [Call(cpu, cpu, VM, "fault", ns, mmu, 1) for cpu in cpus]


def contended(calls: list[Call]) -> list[int]:
    """Of rows, by layout."""
    return [simulate(calls, place).rows.contended for place in LAYOUTS.values()]


def test_a_cpu_alone_contends_with_nobody() -> None:
    assert contended(faults(3, 3, 3)) == [0, 0, 0, 0]


def test_two_cpus_in_turn_take_both_lines_from_each_other() -> None:
    assert contended(faults(0, 1, 0, 1)) == [6, 0, 0, 0]


def test_cpus_of_one_stripe_share_its_row() -> None:
    assert contended(faults(0, STRIPES, 0)) == [4, 4, 4, 0]


# The first slot of a row's third line, and durations of it and of those on both sides.
SLOT = (2 * LINE_BYTES - SLOTS_AT) // SLOT_BYTES
FIRST_NS, BEFORE_NS, LAST_NS = 1 << (SLOT - 1), (1 << (SLOT - 1)) - 1, (1 << (SLOT + 7)) - 1


def test_a_task_that_moves_takes_its_row_along() -> None:
    moved = [Call(cpu, 5, VM, "fault", 1000) for cpu in (0, 1, 1)]
    other = [Call(0, 6, VM, "fault", 1000)]
    assert contended(moved) == [2, 0, 2, 0]
    assert simulate(moved + other, BY_TASK).rows.contended == 4  # both began on CPU 0


def test_durations_of_other_lines_share_the_sum_alone() -> None:
    assert contended(faults(0, ns=BEFORE_NS) + faults(1, ns=FIRST_NS)) == [1, 0, 0, 0]


def test_slots_of_one_line_are_shared() -> None:
    assert contended(faults(0, ns=FIRST_NS) + faults(1, ns=LAST_NS)) == [2, 0, 0, 0]
    assert contended(faults(0, ns=FIRST_NS) + faults(1, ns=LAST_NS + 1)) == [1, 0, 0, 0]


def test_a_size_lies_with_the_sum() -> None:
    unmaps = [Call(cpu, cpu, VM, "unmap", FIRST_NS, sized=True) for cpu in (0, 1)]
    found = simulate(unmaps, SHARED).rows
    assert (found.writes, found.contended) == (6, 2)


def test_the_last_slot_has_all_that_is_longer() -> None:
    longest = 1 << (SLOTS + 10)
    assert contended(faults(0, ns=1 << (SLOTS - 1)) + faults(1, ns=longest)) == [2, 0, 0, 0]


def test_rows_of_other_vms_and_kinds_share_nothing() -> None:
    others = [Call(0, 0, 1, "a", 5), Call(1, 1, 2, "a", 5), Call(2, 2, 1, "b", 5)]
    assert contended(others) == [0, 0, 0, 0]


def test_vcpus_share_their_mmu_s_state() -> None:
    sharing = simulate(faults(0, 1, 1, mmu=MMU), SHARED)
    assert (sharing.mmus.writes, sharing.mmus.contended, sharing.mmus.used) == (3, 1, 1)
    striped = simulate(faults(0, 1, STRIPES, mmu=MMU), STRIPED)
    assert (striped.mmus.contended, striped.mmus.used) == (1, 2)
    apart = simulate(faults(0, mmu=1) + faults(1, mmu=2), SHARED)
    assert (apart.mmus.writes, apart.mmus.contended, apart.mmus.used) == (2, 0, 2)


def of_mmu(kind: str, cpu: int, **values: object) -> Event:
    return Event(kind, cpu=cpu, tid=10 + cpu, kvm=VM, mmu=MMU, **values)  # type: ignore[arg-type]


def test_the_calls_of_a_trace() -> None:
    calls = of_trace(
        [
            of_mmu("record", 1, detail="stored", duration_ns=300),
            of_mmu("map", 1),
            of_mmu("fault", 1, duration_ns=4000),
            Event("notifier_begin", cpu=2, tid=12, kvm=VM),
            of_mmu("unmap_begin", 2, detail="notifier"),
            of_mmu("unmap_end", 2, detail="notifier", duration_ns=500),
            Event("notifier_end", cpu=2, tid=12, kvm=VM, duration_ns=900),
            of_mmu("fault", 1, duration_ns=5000),
            of_mmu("unmap_end", 1, detail="tlbi", duration_ns=70),
            of_mmu("unmap_end", 1, detail="tlbi", full=True, duration_ns=80),
            of_mmu("fault", 1, duration_ns=6000, result=-14),
            Event("fault", cpu=3, tid=13, kvm=VM, duration_ns=7000),
        ]
    )
    assert list(calls) == [
        Call(1, 11, VM, "record stored", 0),
        Call(1, 11, VM, "fault ok shadow", 4000, MMU, 1),
        Call(2, 12, VM, "unmap ranged notifier", 500, MMU, 2, sized=True),
        Call(2, 12, VM, "notifier", 900),
        Call(1, 11, VM, "fault ok refault shadow", 5000, MMU, 2),
        Call(1, 11, VM, "unmap ranged tlbi", 70, MMU, 0, sized=True),
        Call(1, 11, VM, "unmap full tlbi", 80, MMU, 2, sized=True),
        Call(1, 11, VM, "fault error shadow", 6000, MMU, 0),
        Call(3, 13, VM, "fault ok canonical", 7000),
    ]


def test_what_is_owed_goes_with_its_mmu() -> None:
    kinds = [
        of_mmu("fault", 0),
        of_mmu("unmap_end", 0, detail="notifier", full=True),
        of_mmu("mmu_free", 0),
        of_mmu("fault", 0),
    ]
    assert [call.kind for call in of_trace(kinds)][-1] == "fault ok shadow"


def test_stripes_lie_in_between() -> None:
    calls = list(made_up(vms=2, vcpus=8, cpus=32, faults=2000))
    shared, striped, by_task, own = contended(calls)
    assert shared > by_task > own == 0 < striped < shared
    used = [simulate(calls, place).rows.used for place in (SHARED, STRIPED, OWN)]
    assert used == sorted(used) and len(set(used)) == 3


def test_vcpus_in_a_row_share_no_stripe() -> None:
    calls = list(made_up(vms=2, vcpus=STRIPES, cpus=32, faults=500, in_a_row=True))
    faults = [call for call in calls if call.kind.startswith("fault")]
    shared, striped, by_task, _ = contended(faults)
    assert shared > striped == by_task == 0
    assert simulate(faults, SHARED).mmus.contended > 0


def test_with_as_many_stripes_as_cpus_nothing_is_shared() -> None:
    assert contended(list(made_up(2, 8, STRIPES, 500)))[1] == 0


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(arguments))
    return done.exit_code, done.output


def test_a_table_is_printed() -> None:
    code, said = run("--faults", "100", "--cpus", "2")
    assert code == 0
    assert "on 2 CPUs" in said
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == ["| rows"] * 4 + ["| MMU state"] * 4
    assert {row[1] for row in rows} == set(LAYOUTS)


def write(path: Path, *events: Event) -> Path:
    with path.open("wb") as stream, Writer(stream, About()) as writer:
        writer.write(columns_of(events))
    return path


def test_a_trace_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.arrows", of_mmu("fault", 0), of_mmu("fault", 1))
    code, said = run(str(path))
    assert code == 0
    assert "2 calls, on 2 CPUs" in said
    assert "| rows | one for all CPUs | 0.4 | 4 | 1 | 0.500 |" in said


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_what_is_no_trace_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    code, said = run(str(path))
    assert code == 1
    assert said.startswith(f"Error: {path}: ") and said.count("\n") == 1


def test_a_trace_without_calls_is_said(tmp_path: Path) -> None:
    code, said = run(str(write(tmp_path / "t", Event("mmu_init"))))
    assert (code, said.count("\n")) == (1, 1)
    assert "record a busy VM" in said


def test_help_has_no_need_of_a_trace() -> None:
    code, said = run("--help")
    assert code == 0 and "--cpus" in said


def test_its_doctests() -> None:
    done = doctest.testmod(lines)
    assert done.attempted and not done.failed
