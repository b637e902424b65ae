"""Which of the two texts a file is: told by most of its lines, whatever its tasks are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nvscope.analysis.interop.content import format_of
from nvscope.analysis.interop.sources import open_source
from nvscope.analysis.interop.texts.dialects import dialect
from nvscope.probes.traces.tracefile import events as rows_of
from tests.unit.analysis.interop.recorded import HEADER, TOOLS, events, ftrace, perf

COMMS = [
    *(
        "a b",
        "-",
        "x-1",
        "1 2",
        "[003]",
        "a-1 [000]",
        "x -5",
        "5-5 [0]",
        "a: b",
        "::",
        ") [1] (",
        "",
    ),
    *("-1", " -1", "é\ufffd", "#", "nv:map_end:", "1.000000: e:", ":-1", "CPU:0", "(12)", "7/8"),
]


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("comm", COMMS)
def test_tasks_have_any_name(comm: str, tool: str, tmp_path: Path) -> None:
    lines = [replace(line, comm=comm) for line in events()]
    path = tmp_path / "data"
    path.write_text(HEADER + TOOLS[tool](lines))
    assert format_of(path) == ("perf" if tool == "perf" else "ftrace")
    with open_source(path) as source:
        said = [row for batch in source.batches() for row in rows_of(batch)]
    assert "loss" not in {row.kind for row in said}
    assert {(row.comm, row.tid) for row in said} == {(comm.strip(), 71), (comm.strip(), 40)}


@pytest.mark.parametrize("fields", ["{comm} {tid}", "{comm} {pid}/{tid}"])
def test_the_first_task_is_one_that_perf_does_not_know(fields: str, tmp_path: Path) -> None:
    who = fields.format(comm=":-1", pid=-1, tid=-1)
    first = f"{who} [000]     1.000000000: nv:vm_exit: (ffff800080012340) kvm=0x1 pid=1\n"
    (tmp_path / "data").write_text(first)
    assert format_of(tmp_path / "data") == "perf"
    (tmp_path / "data").write_text(HEADER + first + perf(events()))
    assert format_of(tmp_path / "data") == "perf"
    with open_source(tmp_path / "data") as source:
        kinds = [row.kind for batch in source.batches() for row in rows_of(batch)]
    assert kinds.count("loss") == 1
    assert len(kinds) == 24


def test_a_few_lines_of_the_other_do_not_turn_it() -> None:
    ours, others = perf(events()).splitlines(), ftrace(events()).splitlines()
    assert dialect([others[-1], *ours, others[-2]]) == "perf"
    assert dialect([ours[0], *others, ours[1]]) == "ftrace"


def test_no_event_is_no_dialect() -> None:
    assert dialect([]) == dialect(["", "# tracer: nop", "what is this"]) == ""
