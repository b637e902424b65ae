"""The Python interface: what it returns is what the commands say, and what is missing is told."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from nvscope.analysis import Trace, TraceWarning, histogram, open_trace, open_traces
from nvscope.analysis.api import unmaps as unmaps_module
from nvscope.analysis.interop import whole
from nvscope.analysis.interop.cli import convert
from nvscope.analysis.interop.files.stored import Numbered
from nvscope.analysis.interop.sources import batched
from nvscope.analysis.interop.whole import merged
from nvscope.analysis.report.measures.gather import gather
from nvscope.analysis.validate.cli import validate
from nvscope.probes.errors import InputError, LackError
from nvscope.probes.traces.events import COLUMNS, Event
from nvscope.probes.traces.tracefile import SCHEMA, TraceError
from nvscope.probes.traces.tracefile import open_trace as open_reader
from tests.unit.analysis.fleet import LIVES, in_batches, mixed
from tests.unit.analysis.interop.recorded import events, ftrace
from tests.unit.analysis.report.story import FULL, MMU, MS, PAGE, Story
from tests.unit.analysis.traces import VM, written

SAMPLES = Path("analysis/samples").resolve()
ALL = sorted(SAMPLES.rglob("*.arrows"))
LINUX, STOCK = SAMPLES / "linux.arrows", SAMPLES / "stock.arrows"
# Three VMs, and rows that concern all of them.
ROWS = mixed(LIVES[:3], [0, 1, 2] * 40, {10: 2, 50: 2})
VM2 = VM + 0x100000


def rows_of(path: Path) -> list[Event]:
    with open_reader(path) as reader:
        return list(reader.events())


def events_of(table: Any) -> list[Event]:
    return [Event(**row) for row in table.to_pylist()]


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "host.arrows").write_bytes(in_batches(ROWS))
    return tmp_path / "host.arrows"


@pytest.fixture
def fleet(host: Path) -> Path:
    """A data set with that trace."""
    return converted(host, host.parent / "fleet", "--partition")


def converted(source: Path, target: Path, *options: str) -> Path:
    ran = CliRunner().invoke(convert, [*options, str(source), str(target)])
    assert ran.exit_code == 0, ran.output
    return target


# ---- tables


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_table_has_the_events(path: Path) -> None:
    table = open_trace(path).table()
    assert tuple(table.column_names) == COLUMNS
    assert events_of(table) == rows_of(path)


def test_parts_of_a_table() -> None:
    trace, rows = open_trace(LINUX), rows_of(LINUX)
    table = trace.table(["size", "kind"], kinds=["map", "fault"])
    assert table.to_pylist() == [
        {"size": row.size, "kind": row.kind} for row in rows if row.kind in ("map", "fault")
    ]
    named = events_of(trace.table(vm="linux"))
    assert named == [row for row in rows if row.vm == "linux"]
    assert named == events_of(trace.table(vm=rows[0].kvm if rows[0].vm == "linux" else 0))
    assert not trace.table(kinds="loss").num_rows


def test_batches_have_the_same_rows() -> None:
    trace = open_trace(LINUX)
    found = [row for batch in trace.batches(kinds="fault") for row in batch.to_pylist()]
    assert found == trace.table(kinds="fault").to_pylist()


@pytest.mark.parametrize("name", ["host.parquet", "fleet"])
def test_other_formats_have_the_same_rows(host: Path, name: str) -> None:
    options = ["--partition"] if name == "fleet" else []
    trace = open_trace(converted(host, host.parent / name, *options))
    with pytest.warns(TraceWarning, match="1 event is missing"):
        assert events_of(trace.table()) == ROWS
    assert trace.about == open_trace(host).about


def test_a_text_of_another_tool(tmp_path: Path) -> None:
    """What was left out of it is a warning."""
    path = tmp_path / "host.ftrace"
    path.write_text(ftrace(events()) + "this is no event\n")
    with pytest.warns(TraceWarning) as told:
        kinds = open_trace(path).table()["kind"].to_pylist()
    assert sum("1 lines were not understood" in str(each.message) for each in told) == 1
    assert {"map", "unmap_end", "fault"} <= set(kinds)


def test_a_data_set_is_read_in_order_whatever_the_batches(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nvscope.analysis.interop.files import partition

    monkeypatch.setattr(partition, "GATHERED_ROWS", 10)
    monkeypatch.setattr(partition, "MAX_OPEN", 2)
    (trace,) = open_traces(converted(host, host.parent / "fleet", "--partition"))
    with pytest.warns(TraceWarning):
        assert events_of(trace.table()) == ROWS


def test_of_a_data_set_one_vm_is_read(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of the others'."""
    monkeypatch.setattr(whole, "MAX_SHARES", 0)
    with pytest.warns(TraceWarning):
        found = events_of(open_trace(fleet).table(vm=VM2))
    assert found == [row for row in ROWS if row.kvm == VM2 or row.kind == "loss"]
    assert {row.kind for row in found} > {"loss"}
    with pytest.raises(InputError, match=r"VMs; .* choose one by its kvm"):
        open_trace(fleet).table()


def numbered(*numbers: int) -> Numbered:
    """Rows with these numbers, which tell them by their time and their task."""
    (batch,) = batched([Event("map", time_ns=number, comm=f"task {number}") for number in numbers])
    return np.array(numbers), batch


def test_runs_of_rows_become_one() -> None:
    runs = [
        iter([numbered(0, 5), numbered(6)]),
        iter([numbered(1, 2), numbered(9)]),
        iter([]),
        iter([numbered(3)]),
    ]
    found = [row for batch in merged(runs) for row in batch.to_pylist()]
    assert [row["time_ns"] for row in found] == [0, 1, 2, 3, 5, 6, 9]
    assert all(row["comm"] == f"task {row['time_ns']}" for row in found)
    with pytest.raises(TraceError, match="row 5 is there twice"):
        list(merged([iter([numbered(0, 5)]), iter([numbered(5)])]))


def test_words_of_many_batches_are_one_dictionary(tmp_path: Path) -> None:
    """More of them than the file's numbers could count."""
    rows = [[Event("map", comm=f"{lot}-{n}") for n in range(20_000)] for lot in range(2)]
    for lot, some in enumerate(rows):
        (tmp_path / f"{lot}.arrows").write_bytes(written(some))
        converted(tmp_path / f"{lot}.arrows", tmp_path / f"{lot}.parquet")
    parts = [pq.read_table(tmp_path / f"{lot}.parquet") for lot in range(2)]
    with pq.ParquetWriter(tmp_path / "both.parquet", parts[0].schema, compression="zstd") as writer:
        for part in parts:
            writer.write_table(part)
    with pytest.warns(TraceWarning, match="it does not say how it ends"):
        table = open_trace(tmp_path / "both.parquet").table(["comm"])
    assert [row["comm"] for row in table.to_pylist()] == [row.comm for lot in rows for row in lot]


# ---- what is missing


def test_lost_events_are_told(host: Path) -> None:
    """Also where only other rows, or rows of one VM, were asked for."""
    trace = open_trace(host)
    lost = r"host.arrows: 1 event is missing: ring_full \(1\)"
    with pytest.warns(TraceWarning, match=lost) as told:
        assert "loss" not in trace.table(kinds="map", vm=VM)["kind"].to_pylist()
    assert told[0].filename == __file__
    with pytest.warns(TraceWarning, match=lost) as told:
        assert [row for batch in trace.batches(vm=VM) for row in batch.to_pylist()]
    assert told[0].filename == __file__
    with pytest.warns(TraceWarning, match=lost):
        trace.unmaps()


def test_a_trace_without_an_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cut.arrows"
    path.write_bytes(written(LIVES[0], ended=False))
    with pytest.warns(TraceWarning, match="not whole: the recorder did not end it"):
        open_trace(path).table()
    judged = open_trace(path).validate()
    assert (judged.verdict, judged.ok) == ("unknown", False)
    assert "the recorder did not end it" in judged.verdict_table()["why"][0].as_py()


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_of_whole_traces_nothing_is_told(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_trace(path).table()
        open_trace(path).unmaps()


# ---- verdicts


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
@pytest.mark.parametrize("require", [None, "safety,precision<=1.5", "full_unmaps=0"])
def test_verdicts_are_the_commands(path: Path, require: str | None) -> None:
    judged = open_trace(path).validate(require)
    options = ["--require", require] if require else []
    ran = CliRunner().invoke(validate, [*options, "--format", "json", str(path)])
    (said,) = json.loads(ran.stdout)["files"]
    assert judged.ok is (ran.exit_code == 0)
    assert judged.verdict == said["verdict"]
    for row in judged.verdict_table().to_pylist():
        theirs = said["invariants"][row["invariant"]]
        assert (row["verdict"], row["judged"], row["violations"]) == (
            *(theirs[key] for key in ("verdict", "judged", "violations")),
        )
    found = judged.finding_table().to_pylist()
    assert [(f["invariant"], f["row"], f["mmu"], f["seen"]) for f in found] == [
        (f["invariant"], f["row"], f["mmu"], f["seen"]) for f in said["findings"]
    ]
    assert [answer.answer for answer in judged.requirements] == [
        answer["answer"] for answer in said["requirements"]
    ]
    text = CliRunner().invoke(validate, [*options, str(path)]).stdout
    assert f"{judged!r}\n" == text


def test_verdicts_of_a_data_set_are_its_files(tmp_path: Path) -> None:
    path = tmp_path / "bad.arrows"
    path.write_bytes(in_batches(mixed(LIVES[-3:], [0, 1, 2] * 40, {})))
    ones = open_trace(path).validate()
    others = open_trace(converted(path, tmp_path / "fleet", "--partition")).validate(jobs=2)
    assert ones.findings
    assert ones.finding_table() == others.finding_table()
    assert ones.verdict_table() == others.verdict_table()


def test_a_kernel_judged_as_another() -> None:
    judged = open_trace(STOCK).validate(variant="behaviour")
    assert judged.result.variant == "behaviour"
    assert judged.verdicts["conformance"].answer == "not judged"
    assert judged.verdict_table()["why"][3].as_py()


# ---- unmaps


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_unmaps_are_the_reports(path: Path) -> None:
    with open_reader(path) as reader:
        costs = gather(reader).follower.costs
    rows = open_trace(path).unmaps().to_pylist()
    for scope, cost in costs.scopes.items():
        ours = [row for row in rows if row["full"] is (scope == "full")]
        assert len(ours) == cost.unmaps
        for name in ("taken_bytes", "refaults", "refault_ns"):
            assert sum(row[name] for row in ours) == getattr(cost, name)
        assert sum(row["needed_bytes"] or 0 for row in ours) == cost.needed_bytes
        assert sum(row["back_ns"] is not None for row in ours if row["taken"]) == cost.back


def test_an_unmap_by_hand(tmp_path: Path) -> None:
    """Two pages are taken, one of which was asked for and comes back."""
    story = Story()
    story.fault(0x8000, 0x10000)
    story.fault(0x9000, 0x20000)
    story.notifier(0x10000, {"nested_ipa": 0, "size": FULL, "full": True}, reason="broken")
    story.fault(0x8000, 0x30000, cost=7000)
    (tmp_path / "story.arrows").write_bytes(written(story.rows))
    (row,) = open_trace(tmp_path / "story.arrows").unmaps().to_pylist()
    expected = {
        "vm": "alpha",
        "pid": 70,
        "mmu": MMU,
        "full": True,
        "canonical_ipa": 0x10000,
        "canonical_size": PAGE,
        "reason": "broken",
        "taken": 2,
        "taken_bytes": 2 * PAGE,
        "needed_bytes": PAGE,
        "duration_ns": MS,
        "refaults": 1,
        "refault_ns": 7000,
        "back_ns": None,
    }
    assert {name: row[name] for name in expected} == expected


def test_what_is_not_known_of_an_unmap_is_null(tmp_path: Path) -> None:
    """The notifier's begin was before the trace, and the unmap's end after it."""
    begin = Event("unmap_begin", 5, tid=1, kvm=VM, mmu=9, size=PAGE, detail="notifier")
    (tmp_path / "part.arrows").write_bytes(written([begin]))
    (row,) = open_trace(tmp_path / "part.arrows").unmaps().to_pylist()
    unknown = {name for name, value in row.items() if value is None}
    assert unknown == {
        *("canonical_ipa", "canonical_size", "needed_bytes", "duration_ns", "back_ns"),
    }


def test_vms_past_those_that_are_followed_are_told(tmp_path: Path) -> None:
    rows = [Event("mmu_init", n, kvm=n + 1) for n in range(unmaps_module.MAX_VMS + 1)]
    (tmp_path / "many.arrows").write_bytes(written(rows))
    with pytest.warns(TraceWarning, match="only the first 64 VMs are followed"):
        open_trace(tmp_path / "many.arrows").unmaps()


# ---- errors


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda trace: trace.table(["when"]), "'when' is no column of a trace: there are kind"),
        (lambda trace: trace.table([]), "no column is named: name one at least"),
        (lambda trace: trace.batches(kinds="mapp"), "'mapp' is no kind of a trace: there are loss"),
        (lambda trace: trace.table(vm="linus"), "there is no VM linus: there are linux, linux@177"),
        (lambda trace: trace.table(vm=7), "there is no VM 0x7: there are 0xffff"),
        (lambda trace: trace.validate("speed"), "require: 'speed' is no requirement"),
        (lambda trace: trace.validate(variant="oak"), "'oak' is no variant: there are none, maple"),
        (lambda trace: trace.validate(jobs=0), "jobs is 0: there has to be one process at least"),
        (lambda _: open_trace("nowhere"), "nowhere: No such file or directory"),
        (lambda _: open_trace("x" * 300), "File name too long"),
        (lambda _: open_trace("analysis"), "analysis: it is a folder, and no data set"),
        (lambda _: open_trace("/dev/null"), "/dev/null: a pipe can be read only once"),
        (lambda _: open_trace("README.md"), "README.md: this is no Arrow stream"),
        (lambda _: histogram(["long"], "a"), "these are no durations in ns"),
        (lambda _: histogram([-1], "a"), "these are no durations in ns"),
    ],
)
def test_wrong_input_is_one_line(call: Callable[[Trace], object], said: str) -> None:
    with pytest.raises(InputError) as raised:
        call(open_trace(LINUX))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_several_traces_are_not_one(host: Path, fleet: Path) -> None:
    other = host.parent / "other.arrows"
    other.write_bytes(host.read_bytes())
    converted(other, fleet, "--partition")
    assert [trace.path.name for trace in open_traces(fleet)] == ["trace=host", "trace=other"]
    assert open_trace(fleet / "boot=unknown/trace=host").validate().verdict == "unknown"
    with pytest.raises(InputError, match="a data set of 2 traces; open_traces opens them"):
        open_trace(fleet)


def test_a_damaged_trace_is_one_line(tmp_path: Path) -> None:
    content = bytearray(LINUX.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    (tmp_path / "bad.arrows").write_bytes(content)
    trace = open_trace(tmp_path / "bad.arrows")
    for call in (trace.table, trace.unmaps, trace.validate, lambda: list(trace.batches())):
        with pytest.raises(InputError, match=r"bad\.arrows: "):
            call()


# ---- what it costs, and what it needs


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_commands_do_not_pay_for_it() -> None:
    """pyarrow comes when something is asked for, not with the folder that all commands import."""
    code = """
import sys, nvscope.analysis.validate.cli
assert "open_trace" in dir(nvscope.analysis) and not hasattr(nvscope.analysis, "open_tracer")
assert not {"pyarrow", "numpy", "nvscope.analysis.api"} & set(sys.modules)
from nvscope.analysis import open_trace
print("pyarrow" in sys.modules, {"jinja2", "numba", "dask", "pandas"} & set(sys.modules))
"""
    assert run(code) == "True set()\n"


def test_without_pyarrow_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import nvscope.analysis

    for name in [name for name in sys.modules if name.startswith("nvscope.analysis.api")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(nvscope.analysis, "api")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(LackError, match=r"^pyarrow is not installed: install nvscope\[trace\]$"):
        _ = nvscope.analysis.open_trace


# ---- what others make of the tables: in one line


def test_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = open_trace(LINUX).table().to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.groupby("kind", observed=True).size()["fault"] == 663
    assert open_trace(LINUX).unmaps().to_pandas()["refaults"].sum() == 1024


def test_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.from_arrow(open_trace(LINUX).table())
    assert frame.filter(polars.col("kind") == "fault").height == 663


def test_duckdb() -> None:
    duckdb = pytest.importorskip("duckdb")
    events = open_trace(LINUX).table()
    assert events.schema.names == SCHEMA.names  # it is used: DuckDB finds it by its name
    query = "SELECT count(*) FROM events WHERE kind = 'fault'"
    assert duckdb.sql(query).fetchall() == [(663,)]


def test_a_picture_is_svg_of_its_own() -> None:
    from xml.etree import ElementTree

    picture = histogram(open_trace(LINUX).unmaps()["duration_ns"], "<unmaps>")
    root = ElementTree.fromstring(picture._repr_svg_())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len([*root.iter("{http://www.w3.org/2000/svg}rect")]) == 7
    assert repr(picture).startswith("<unmaps>: 513 durations, median about ")
    assert repr(histogram([], "none")) == "none: no durations"
