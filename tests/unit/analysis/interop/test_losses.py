"""What a text says is missing, and what cannot be read of it, is lost: at its place.

A verdict may then be "unknown" and nothing else: of a kernel that is right, and of one that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings

from nvscope.analysis.interop.cli import convert
from nvscope.analysis.interop.texts import gaps
from nvscope.analysis.interop.texts.gaps import Survey
from nvscope.analysis.interop.texts.text import Mark, Raw, Where
from nvscope.analysis.validate.jobs.run import validate
from nvscope.probes.traces.events import Event
from nvscope.probes.traces.tracefile import open_trace
from tests.fuzz import text_traces
from tests.unit.analysis.interop.recorded import HEADER, TOOLS, Line, events, ftrace, perf

EVENTS = events()
NOISE = "# tracer: nop\n"


def body(line: Line, tool: str = "ftrace") -> str:
    """One line of a tool's text, without what stands before the first."""
    return TOOLS[tool]([line]).splitlines(keepends=True)[-1]


def text_of(lines: Sequence[Line], tool: str = "ftrace") -> str:
    return "".join(body(line, tool) for line in lines)


def converted(tmp_path: Path, text: str) -> tuple[list[Event], str]:
    """The rows, and what is said on stderr."""
    (tmp_path / "in.txt").write_text(HEADER + text)
    out = tmp_path / "out.arrows"
    result = CliRunner().invoke(convert, [str(tmp_path / "in.txt"), str(out)])
    assert result.exit_code == 0, result.output
    with open_trace(out) as reader:
        return list(reader.events()), result.stderr


def losses(rows: Sequence[Event]) -> list[tuple[int, str, int]]:
    """Of each row of loss its number, its cause and how many."""
    return [(at, row.detail, row.count) for at, row in enumerate(rows) if row.kind == "loss"]


def verdicts(tmp_path: Path) -> set[str]:
    """Of the text, and of the trace that it became."""
    return {validate(tmp_path / name).verdict for name in ("in.txt", "out.arrows")}


def bad_kernel() -> list[Line]:
    """A notifier unmap leaves a mapping behind."""
    unmap = next(i for i, line in enumerate(EVENTS) if "size=0x1000000000000" in line.values)
    return [line for i, line in enumerate(EVENTS) if i not in (unmap, unmap + 1)]


def test_these_kernels_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    converted(tmp_path, text_of(EVENTS))
    assert verdicts(tmp_path) == {"pass"}
    converted(tmp_path, text_of(bad_kernel()))
    assert verdicts(tmp_path) == {"violation"}


# ---- a ring that was written round


def wrapped(lines: Sequence[Line], gone: int, cpu: int = 1) -> list[Line]:
    """Without the first so many of a CPU."""
    first = [line for line in lines if line.cpu == cpu][:gone]
    return [line for line in lines if line not in first]


def first_of(lines: Sequence[Line], cpu: int) -> int:
    return next(line.time_us for line in lines if line.cpu == cpu)


@pytest.mark.parametrize("lines", [EVENTS, bad_kernel()], ids=["right", "wrong"])
@pytest.mark.parametrize("gone", [1, 8, 14, 22])
def test_what_the_header_says_is_gone(lines: list[Line], gone: int, tmp_path: Path) -> None:
    left = wrapped(lines, gone)
    head = f"# entries-in-buffer/entries-written: {len(left)}/{len(left) + gone}   #P:2\n"
    rows, _ = converted(tmp_path, NOISE + head + text_of(left))
    assert losses(rows)[0] == (0, "overwritten", gone)
    assert rows[0].time_ns == 1000 * max(first_of(left, cpu) for cpu in (0, 1))
    assert verdicts(tmp_path) == {"unknown"}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("lines", [EVENTS, bad_kernel()], ids=["right", "wrong"])
@pytest.mark.parametrize("gone", [8, 14, 22])
def test_a_buffer_that_started_later(
    lines: list[Line], gone: int, header: bool, tmp_path: Path
) -> None:
    left = wrapped(lines, gone)
    at = next(i for i, line in enumerate(left) if line.cpu == 1)
    head = f"# entries-in-buffer/entries-written: {len(left)}/{len(left) + gone}   #P:2\n"
    text = text_of(left[:at]) + "##### CPU 1 buffer started ####\n" + text_of(left[at:])
    rows, _ = converted(tmp_path, NOISE + (head if header else "") + text)
    # The events of the other CPU before that place are from when this one's were lost.
    assert losses(rows)[0] == (0, "overwritten", gone if header else 1)
    until = max(first_of(left, cpu) for cpu in (0, 1)) if header else left[at].time_us
    assert rows[0].time_ns == 1000 * until
    assert verdicts(tmp_path) == {"unknown"}


def test_a_buffer_with_room_for_all_lost_nothing(tmp_path: Path) -> None:
    rows, _ = converted(tmp_path, ftrace(EVENTS))  # 9/9
    assert losses(rows) == []
    assert verdicts(tmp_path) == {"pass"}


def test_the_header_of_a_second_recording_in_the_same_file(tmp_path: Path) -> None:
    text = (
        text_of(EVENTS[:20]) + "# entries-in-buffer/entries-written: 3/9\n" + text_of(EVENTS[20:])
    )
    rows, _ = converted(tmp_path, text)
    assert losses(rows)[0] == (0, "overwritten", 6)
    assert rows[0].time_ns == EVENTS[-1].time_us * 1000


# ---- losses of a CPU


def with_losses(lines: Sequence[Line], gone: set[int], tool: str) -> str:
    """The text of what is left, as the tool prints it: before a CPU's next event it tells."""
    waiting: dict[int, int] = {}
    parts = []
    for number, line in enumerate(lines):
        if number in gone:
            waiting[line.cpu] = waiting.get(line.cpu, 0) + 1
            continue
        if count := waiting.pop(line.cpu, 0):
            parts.append(lost(tool, line, count))
        parts.append(body(line, tool))
    return "".join(parts + [lost(tool, replace(lines[-1], cpu=c), n) for c, n in waiting.items()])


def lost(tool: str, line: Line, count: int) -> str:
    if tool == "perf":
        at = f"{line.time_us // 10**6:5}.{line.time_us % 10**6:06}000"
        return f"            perf   123 [{line.cpu:03}] {at}: PERF_RECORD_LOST lost {count}\n"
    if tool == "trace_cmd":
        return f"CPU:{line.cpu} [{count} EVENTS DROPPED]\n"
    return f"CPU:{line.cpu} [LOST {count} EVENTS]\n"


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("length", [1, 3, 9])
def test_losses_anywhere_never_make_a_verdict(tool: str, length: int, tmp_path: Path) -> None:
    for cpu in (0, 1):
        of_cpu = [i for i, line in enumerate(EVENTS) if line.cpu == cpu]
        for first in range(0, len(of_cpu), 2):
            gone = set(of_cpu[first : first + length])
            (tmp_path / "in.txt").write_text(HEADER + with_losses(EVENTS, gone, tool))
            assert validate(tmp_path / "in.txt").verdict == "unknown", (cpu, first)


def test_a_loss_begins_where_its_cpu_was_heard_last(tmp_path: Path) -> None:
    lines = [line for line in EVENTS if line.cpu == 1]
    other = Line("kswapd0", 40, 0, lines[3].time_us + 5, "vm_exit", "kvm=0x70 pid=1")
    text = text_of([*lines[:4], other]) + "CPU:1 [LOST 7 EVENTS]\n" + text_of(lines[4:])
    rows, _ = converted(tmp_path, text)
    (where, cause, count), *_ = losses(rows)
    assert (cause, count) == ("ring_full", 7)
    assert rows[where].time_ns == lines[4].time_us * 1000
    assert [row.kind for row in rows[where + 1 : where + 2]] == ["vm_exit"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[LOST 12 EVENTS]", ("ring_full", 12)),
        ("[LOST 12 events]", ("ring_full", 12)),
        ("PERF_RECORD_LOST lost 3", ("ring_full", 3)),
        ("  :-1    -1 [000]  1.000100: PERF_RECORD_LOST_SAMPLES", ("ring_full", 1)),
        ("  perf  7 [001]  0.000000: PERF_RECORD_LOST_SAMPLES lost 5", ("ring_full", 5)),
    ],
)
def test_where_it_is_not_said_of_which_cpu_it_may_be_anywhere(
    line: str, said: tuple[str, int], tmp_path: Path
) -> None:
    rows, _ = converted(tmp_path, perf(EVENTS[:9]) + line + "\n" + perf(EVENTS[9:]))
    assert losses(rows)[0] == (0, *said)
    assert rows[0].time_ns == EVENTS[-1].time_us * 1000
    assert verdicts(tmp_path) == {"unknown"}


@pytest.mark.parametrize(
    "line",
    [
        "swapper     0 [000]     0.000000: PERF_RECORD_BPF_EVENT type 1, flags 0, id 36",
        "bash   123 [000]     1.000001: PERF_RECORD_COMM: bash:123/123",
        "qemu   71 [001]  1.000001: PERF_RECORD_SWITCH_CPU_WIDE OUT          next pid/tid: 0/0",
        "CPU 3 is empty",
        "cpus=4",
        "version = 6",
        "CPU:110 [SUBBUFFER START] [81779379165886:0x1320000]",
        "   kworker/0:1-12   [000] .....     1.000001: <stack trace>",
        " => kvm_unmap_gfn_range",
        "        ffff800080012340 kvm_unmap_gfn_range+0x0 ([kernel.kallsyms])",
        "",
        "#",
    ],
)
@pytest.mark.parametrize("tool", TOOLS)
def test_what_tools_print_beside_events_is_no_loss(line: str, tool: str, tmp_path: Path) -> None:
    text = text_of(EVENTS[:9], tool) + line + "\n" + text_of(EVENTS[9:], tool)
    rows, stderr = converted(tmp_path, text)
    assert (losses(rows), stderr.count("not understood")) == ([], 0)
    assert verdicts(tmp_path) == {"pass"}


@pytest.mark.parametrize("comm", ["CPU:1 [EVENTS]", "[LOST 1 EVENTS]", "PERF_RECORD_LO"])
@pytest.mark.parametrize("tool", TOOLS)
def test_tasks_with_such_names_are_no_losses(comm: str, tool: str, tmp_path: Path) -> None:
    rows, _ = converted(tmp_path, text_of([replace(line, comm=comm) for line in EVENTS], tool))
    assert losses(rows) == []
    assert {row.comm for row in rows} == {comm}


# ---- misses of probes


@pytest.mark.parametrize(
    ("event", "misses", "said"),
    [
        ("map_end", 3, [(0, "missed", 3)]),
        ("notifier_begin", 1, [(0, "missed", 1)]),
        ("map_end", 0, []),
        ("p_do_sys_open_0", 9, []),  # somebody else's
        ("myprobe", 1, []),
    ],
)
def test_only_misses_of_probes_of_a_recipe_count(
    event: str, misses: int, said: list[tuple[int, str, int]], tmp_path: Path
) -> None:
    profile = f"  {event:<44} {7:15} {misses:15}\n  {'r_other_0':<44} {1:15} {5:15}\n"
    rows, stderr = converted(tmp_path, text_of(EVENTS) + profile)
    assert (losses(rows), stderr) == (said, "")
    assert verdicts(tmp_path) == ({"unknown"} if said else {"pass"})


def test_misses_of_others_do_not_end_calls_either(tmp_path: Path) -> None:
    rows, _ = converted(
        tmp_path, text_of(EVENTS[:8]) + f"  {'r_other_0':<44} {1:15} {5:15}\n" + text_of(EVENTS[8:])
    )
    assert losses(rows) == []


# ---- what cannot be read


@pytest.mark.parametrize("lines", [EVENTS, bad_kernel()], ids=["right", "wrong"])
def test_a_line_that_is_not_understood_is_lost(lines: list[Line], tmp_path: Path) -> None:
    for at in range(0, len(lines), 4):
        damaged = body(lines[at]).replace(": (f", "; (f")
        text = text_of(lines[:at]) + damaged + text_of(lines[at + 1 :])
        rows, stderr = converted(tmp_path, text)
        assert losses(rows)[0][1:] == ("not_understood", 1)
        assert "1 lines were not understood" in stderr
        # Of a kernel that is wrong, what is wrong may stand after the place, and be known.
        assert verdicts(tmp_path) <= {"unknown", "violation" if lines is not EVENTS else "unknown"}


def test_an_event_without_a_value_that_it_needs_is_lost(tmp_path: Path) -> None:
    at = next(i for i, line in enumerate(EVENTS) if line.event == "notifier_begin")
    damaged = replace(EVENTS[at], values="kvm=0xffff000000100000 pid=70 start=0x40")
    rows, stderr = converted(tmp_path, text_of([*EVENTS[:at], damaged, *EVENTS[at + 1 :]]))
    assert [said[1] for said in losses(rows)] == ["not_understood", "no_begin"]
    assert "a value is missing" in stderr
    assert verdicts(tmp_path) == {"unknown"}


@pytest.mark.parametrize(
    ("event", "before", "after", "count"),
    [
        ("map_begin", "size=0x1000", "size=0x1001", 1),
        ("map_begin", "size=0x1000", "size=0x0", 1),
        ("record_begin", "nested=0x", "nested=0xf0000000", 1),
        ("notifier_begin", "end=0x40001", "end=0x40000", 2),
        ("notifier_begin", "end=0x40001", "end=0x4000", 2),
    ],
)
def test_a_range_that_cannot_be_is_lost(
    event: str, before: str, after: str, count: int, tmp_path: Path
) -> None:
    at = max(i for i, line in enumerate(EVENTS) if line.event == event)
    damaged = replace(EVENTS[at], values=EVENTS[at].values.replace(before, after))
    rows, stderr = converted(tmp_path, text_of([*EVENTS[:at], damaged, *EVENTS[at + 1 :]]))
    assert [said[1:] for said in losses(rows)] == [("not_understood", 1)] * count
    assert "no such range can be" in stderr
    assert verdicts(tmp_path) == {"unknown"}


def test_words_of_a_header_that_nobody_knows_are_unknown(tmp_path: Path) -> None:
    head = HEADER.replace("overlapped", "overla\\u0007pped")
    (tmp_path / "in.txt").write_text(head + text_of(EVENTS))
    assert validate(tmp_path / "in.txt").verdict == "unknown"


def test_an_end_without_its_begin_is_lost(tmp_path: Path) -> None:
    at = next(i for i, line in enumerate(EVENTS) if line.event == "record_begin")
    rows, stderr = converted(tmp_path, text_of([*EVENTS[:at], *EVENTS[at + 1 :]]))
    assert [said[1:] for said in losses(rows)] == [("no_begin", 1)]
    assert "record_end without its begin" in stderr
    assert verdicts(tmp_path) == {"unknown"}


def test_a_last_line_without_an_end_is_lost(tmp_path: Path) -> None:
    rows, stderr = converted(tmp_path, text_of(EVENTS[:-1]) + body(EVENTS[-1])[:-3])
    assert losses(rows) == [(len(rows) - 1, "not_understood", 1)]
    assert "its last line has no end" in stderr
    assert verdicts(tmp_path) == {"unknown"}


def test_a_line_that_is_too_long_is_lost(tmp_path: Path) -> None:
    longer = body(EVENTS[8])[:-1] + " x=1" * 2000 + "\n"
    rows, _ = converted(tmp_path, text_of(EVENTS[:8]) + longer + text_of(EVENTS[9:]))
    assert losses(rows)[0][1:] == ("not_understood", 1)
    assert verdicts(tmp_path) == {"unknown"}


@pytest.mark.parametrize("lines", [EVENTS, bad_kernel()], ids=["right", "wrong"])
@pytest.mark.parametrize(("moved", "to"), [(14, 20), (6, 30), (22, 24)])
def test_an_event_out_of_order_is_lost_from_where_it_belongs(
    lines: list[Line], moved: int, to: int, tmp_path: Path
) -> None:
    others = [line for line in lines if line is not lines[moved]]
    rows, stderr = converted(tmp_path, text_of([*others[:to], lines[moved], *others[to:]]))
    at, cause, count = losses(rows)[0]
    assert (cause, count) == ("out_of_order", 1)
    assert rows[at].time_ns == others[to - 1].time_us * 1000
    assert all(row.time_ns <= lines[moved].time_us * 1000 for row in rows[:at])
    assert "its time is before that of the line above" in stderr
    assert "pass" not in verdicts(tmp_path)


def test_wherever_a_line_is_moved_to_there_is_no_verdict(tmp_path: Path) -> None:
    for moved in range(0, len(EVENTS), 4):
        others = [line for line in EVENTS if line is not EVENTS[moved]]
        for to in {*range(0, len(EVENTS), 3)} - {moved}:
            text = text_of([*others[:to], EVENTS[moved], *others[to:]])
            (tmp_path / "in.txt").write_text(HEADER + text)
            assert validate(tmp_path / "in.txt").verdict == "unknown", (moved, to)


def test_two_recordings_in_one_file(tmp_path: Path) -> None:
    rows, _ = converted(tmp_path, text_of(EVENTS) + text_of(EVENTS))
    assert losses(rows) == [(0, "out_of_order", len(EVENTS) - 1)]  # the last one has the same time
    assert verdicts(tmp_path) == {"unknown"}


@pytest.mark.parametrize("tool", TOOLS)
def test_nobody_saw_what_happened_between_two_recordings(tool: str, tmp_path: Path) -> None:
    for at in range(1, len(EVENTS)):
        text = text_of(EVENTS[:at], tool) + HEADER + text_of(EVENTS[at:], tool)
        (tmp_path / "in.txt").write_text(HEADER + text)
        assert validate(tmp_path / "in.txt").verdict == "unknown"
    rows, _ = converted(tmp_path, text)
    assert ("not_recorded", 1) in [said[1:] for said in losses(rows)]


@pytest.mark.parametrize(("comm", "tid"), [(":-1", -1), ("swapper", 0), ("", 0)])
def test_tasks_that_perf_does_not_know_are_lost(comm: str, tid: int, tmp_path: Path) -> None:
    strangers = [replace(line, comm=comm, tid=tid) for line in EVENTS]
    rows, stderr = converted(tmp_path, text_of(strangers, "perf"))
    assert {(row.kind, row.detail) for row in rows} == {("loss", "no_task")}
    assert f"{len(EVENTS)} events were left out: the task is not known" in stderr
    assert verdicts(tmp_path) == {"unknown"}


def test_other_events_of_such_tasks_are_nobodys_business(tmp_path: Path) -> None:
    other = "swapper     0 [000]     0.000001: sched:sched_switch: prev_pid=0\n"
    rows, _ = converted(tmp_path, text_of(EVENTS[:9], "perf") + other + text_of(EVENTS[9:], "perf"))
    assert losses(rows) == []
    assert verdicts(tmp_path) == {"pass"}


def test_many_other_tasks_do_not_end_calls(tmp_path: Path) -> None:
    time_us = EVENTS[8].time_us + 1
    others = "".join(
        f"     task-{tid} [001] d..1. 1.{time_us % 10**6:06}: sched_switch: prev_pid=0\n"
        for tid in range(1000, 1000 + (1 << 16) + 1)
    )
    rows, _ = converted(tmp_path, text_of(EVENTS[:9]) + others + text_of(EVENTS[9:]))
    assert losses(rows) == []


# ---- anything


@settings(max_examples=50, deadline=None)
@given(text_traces.EXAMPLES)
def test_any_text(example: text_traces.Example) -> None:
    text_traces.attempt(example)


# ---- bounds


def raw(time_ns: int, cpu: int = 0, event: str = "x") -> Raw:
    return Raw(time_ns, cpu, 1, "c", event, {})


def test_gaps_of_a_cause_that_meet_are_one() -> None:
    found = Survey(lambda event: True)
    lost_here = Mark(Where.CPU, "ring_full", 2, cpu=0)
    line = 0
    for time_ns, item in enumerate([lost_here, raw(10), lost_here, raw(20), raw(30, 1)]):
        line = time_ns + 1
        found.take(line, item)
    assert [(gap.after, gap.until_ns, gap.count) for gap in found.finish()] == [(0, 20, 4)]


def test_there_are_not_more_gaps_than_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "MAX_GAPS", 4)
    found = Survey(lambda event: True)
    items: list[Raw | Mark] = []
    for at in range(20):
        items += [
            raw(10 * at),
            Mark(Where.HERE, "not_understood"),
            raw(10 * at + 1),
            raw(10 * at + 2),
        ]
    for line, item in enumerate(items, 1):
        found.take(line, item)
    kept = found.finish()
    assert len(kept) == 4
    assert sum(gap.count for gap in kept) == 20
    assert kept[-1].until_ns == 191
