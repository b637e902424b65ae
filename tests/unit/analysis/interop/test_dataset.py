"""Data sets of traces: what is in their files, and what is none."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from nvscope.analysis.interop.cli import convert
from nvscope.analysis.interop.files import partition
from nvscope.analysis.interop.files.layout import NUMBERED, trace_folders
from nvscope.analysis.interop.files.parquet import said_of
from nvscope.analysis.interop.files.stored import Share, interleaved, stored
from nvscope.analysis.validate.cli import validate
from nvscope.probes.traces.events import Event
from nvscope.probes.traces.tracefile import TraceError, events
from tests.unit.analysis.fleet import LIVES, in_batches, mixed
from tests.unit.analysis.traces import about_of, written

ROWS = mixed(LIVES[:3], [0, 1, 2] * 40, {10: 2, 50: 2})
TRACE = Path("boot=unknown/trace=host")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(convert, [str(each) for each in arguments])


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A data set with one trace of three VMs."""
    (tmp_path / "host.arrows").write_bytes(in_batches(ROWS))
    ran = run("--partition", tmp_path / "host.arrows", tmp_path / "fleet")
    assert ran.output == f"{tmp_path / 'fleet'}: {len(ROWS)} rows\n"
    return tmp_path / "fleet"


def test_every_row_is_there_once_in_its_order(fleet: Path) -> None:
    (folder,) = trace_folders(fleet)
    found = stored(folder)
    assert (found.rows, found.ending) == (len(ROWS), "")
    assert len(found.shares) == 4
    seen: dict[int, Event] = {}
    for name in found.shares:
        last = -1
        for numbers, batch in Share(folder, name).numbered():
            for number, event in zip(numbers.tolist(), events(batch), strict=True):
                assert number > last
                assert event.kind == "loss" or f"{event.kvm:#018x}" == name
                seen[number], last = event, number
    assert [seen[number] for number in range(len(ROWS))] == ROWS


def test_other_tools_read_it(fleet: Path) -> None:
    """Hive's folder names are columns; nothing is there twice; each file says whose it is."""
    table = ds.dataset(fleet, partitioning="hive").to_table()
    assert {"boot", "trace", "share", "row"} <= set(table.column_names)
    assert sorted(table["row"].to_pylist()) == list(range(len(ROWS)))
    for path in fleet.rglob("*.parquet"):
        assert json.loads(pq.read_schema(path).metadata[b"nvscope"])["kernel"] == "7.3.0"


def test_many_vms_need_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those past the limit get a file for each lot of rows."""
    monkeypatch.setattr(partition, "MAX_OPEN", 2)
    monkeypatch.setattr(partition, "GATHERED_ROWS", 10)
    (tmp_path / "host.arrows").write_bytes(in_batches(ROWS))
    run("--partition", tmp_path / "host.arrows", tmp_path / "fleet")
    folder = tmp_path / "fleet" / TRACE
    assert stored(folder).rows == len(ROWS)
    assert max(len([*share.iterdir()]) for share in folder.iterdir()) > 2
    ran = CliRunner().invoke(validate, ["-j1", str(folder)])
    alone = CliRunner().invoke(validate, [str(tmp_path / "host.arrows")])
    assert ran.stdout.splitlines()[1:] == alone.stdout.splitlines()[1:]


def test_too_many_vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "MAX_VMS", 3)
    (tmp_path / "host.arrows").write_bytes(in_batches(ROWS))
    ran = run("--partition", tmp_path / "host.arrows", tmp_path / "fleet")
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
    assert "more than 3 VMs" in ran.stderr
    assert not (tmp_path / "fleet").exists()


def test_traces_of_hosts_and_boots_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.arrows"
    for boot in ("b1", "../b2"):
        path.write_bytes(written(LIVES[0], boot_id=boot))
        assert run("--partition", path, tmp_path / "fleet").exit_code == 0
    folders = [f.relative_to(tmp_path).as_posix() for f in trace_folders(tmp_path / "fleet")]
    assert folders == ["fleet/boot=..%2Fb2/trace=a", "fleet/boot=b1/trace=a"]
    again = run("--partition", path, tmp_path / "fleet")
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
    assert "is there already" in again.stderr


def test_any_name_and_any_boot_has_a_folder(tmp_path: Path) -> None:
    """Also of a file whose name is no UTF-8, and where quoting makes a name too long."""
    names = (b"a\xff\x1b.arrows", ("ü" * 100).encode() + b".arrows", b"..arrows")
    for number, name in enumerate(names):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.write_bytes(written(LIVES[0], boot_id="\U0001f600" * 90))
        assert run("--partition", path, tmp_path / "fleet").exit_code == 0
        assert len(trace_folders(tmp_path / "fleet")) == number + 1
        path.unlink()
    assert CliRunner().invoke(validate, ["-j1", str(tmp_path / "fleet")]).exit_code in (0, 3)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("host.arrows", "is what is to be read"),
        ("file", "it is no folder"),
        ("other", "there is something else in this folder"),
        ("file/x", "cannot write"),
        ("/dev/null", "it is no folder"),
        ("x\udcff", "its name is no UTF-8"),
        ("x" * 300, "File name too long"),
    ],
)
def test_where_no_data_set_can_be(target: str, words: str, fleet: Path) -> None:
    folder = fleet.parent
    (folder / "file").write_text("")
    (folder / "other").mkdir()
    (folder / "other/precious").write_text("")
    ran = run("--partition", folder / "host.arrows", folder / target)
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
    assert words in ran.stderr
    assert [path.name for path in (folder / "other").iterdir()] == ["precious"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """A batch in the middle is damaged."""
    data = bytearray(in_batches(ROWS * 20, 500))
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    (tmp_path / "host.arrows").write_bytes(data)
    assert run("--partition", tmp_path / "host.arrows", tmp_path / "fleet").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["host.arrows"]


def some(folder: Path) -> Path:
    """A VM's share."""
    return sorted(folder.glob("share=0x*"))[0]


def replace_rows(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a share anew."""
    path = some(folder) / "0.parquet"
    table = pq.read_table(path, partitioning=None)
    assert table.schema.names == NUMBERED.names
    pq.write_table(change(table), path)


def with_column(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:  # type: ignore[type-arg]
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, pa.array(values, field.type))


def other_trace(folder: Path) -> None:
    """A share of another trace is among them."""
    schema = NUMBERED.with_metadata(said_of(about_of("none")))
    (folder / "share=0x00000000000000aa").mkdir()
    pq.write_table(schema.empty_table(), folder / "share=0x00000000000000aa/0.parquet")


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: shutil.rmtree(some(f)), "rows, here are"),
    (lambda f: shutil.rmtree(f / "share=all"), "it has no share=all"),
    (lambda f: (some(f) / "0.parquet").rename(some(f) / "1.parquet"), "files are missing"),
    (lambda f: (some(f) / "0.parquet").unlink(), "files are missing"),
    (lambda f: shutil.copytree(some(f), f / "share=0x00000000000000aa"), "rows, here are"),
    (lambda f: some(f).rename(f / "share=0x00000000000000aa"), "it has rows of another VM"),
    (lambda f: some(f).rename(f / "share=vm7"), "share=vm7: it is not of a data set"),
    (lambda f: (f / "readme.txt").write_text(""), "readme.txt: it is not of a data set"),
    (lambda f: (some(f) / "a.parquet").write_text(""), "a.parquet: it is not of a data set"),
    (lambda f: (some(f) / "0.parquet").write_bytes(b""), "0.parquet: this is no Parquet file"),
    (lambda f: (some(f) / "0.parquet").write_bytes(b"PAR1" * 99), "this is no Parquet file"),
    (lambda f: os.mkfifo(some(f) / "1.parquet"), "1.parquet: it is not of a data set"),
    (lambda f: (f / "share=all/0.parquet").write_bytes(
        (some(f) / "0.parquet").read_bytes()), "it does not say how many rows"),
    (other_trace, "it is of another trace than all's"),
    (lambda f: replace_rows(f, lambda t: t.drop_columns(["row"])), "columns are not a trace's"),
    (lambda f: replace_rows(f, lambda t: t.replace_schema_metadata({})), "no trace of nvscope's"),
    (lambda f: replace_rows(f, lambda t: t.take(np.arange(t.num_rows)[::-1])), "not in order"),
    (lambda f: replace_rows(f, lambda t: with_column(
        t, "row", t["row"].to_numpy() + 10_000)), "its rows are not in order"),
    (lambda f: replace_rows(f, lambda t: with_column(
        t, "row", t["row"].to_numpy() - 10_000)), "its rows are not in order"),
    (lambda f: replace_rows(f, lambda t: with_column(
        t, "row", np.arange(t.num_rows) + 9)), "row 10 is there twice"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), DAMAGES, ids=range(len(DAMAGES)))
def test_what_is_no_data_set_any_more(
    damage: Callable[[Path], object], words: str, fleet: Path
) -> None:
    """One line, exit code 2; other traces are judged all the same."""
    shutil.copytree(fleet / "boot=unknown", fleet / "boot=b2")
    damage(fleet / TRACE)
    ran = CliRunner().invoke(validate, ["-j1", str(fleet)])
    assert words in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert ran.stdout.count("trace=host: ") == 1
    assert ran.exit_code == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: None, "it is a folder, and no data set"),
        (lambda f: (f / "boot=1").mkdir(), "it is a folder, and no data set"),
        (lambda f: (f / "boot=1/trace=1").mkdir(parents=True), "it has no share=all"),
        (lambda f: (f / "boot=1").write_text(""), "Not a directory"),
        (lambda f: [(f / name).mkdir() for name in ("boot=1", "x")], "x: it is not of a data set"),
        (lambda f: (f / "a.arrows").write_text(""), "it is a folder, and no data set"),
    ],
)
def test_folders_of_others(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    make(tmp_path)
    ran = CliRunner().invoke(validate, ["-j1", str(tmp_path)])
    assert words in ran.stderr
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)


def test_flipped_bytes(fleet: Path) -> None:
    """An answer or one line; never a traceback."""
    path = some(fleet / TRACE) / "0.parquet"
    data = path.read_bytes()
    for at in range(4, len(data), max(1, len(data) // 60)):
        bad = bytearray(data)
        bad[at] ^= 0xFF
        path.write_bytes(bad)
        ran = CliRunner().invoke(validate, ["-j1", str(fleet)])
        assert ran.exit_code in (0, 1, 2, 3), (at, ran.exception)
        assert isinstance(ran.exception, SystemExit | None), (at, ran.exception)


def test_a_data_set_is_no_trace_of_its_own(fleet: Path) -> None:
    ran = run(fleet, fleet.parent / "out.arrows")
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)


def test_runs_of_rows_interleave() -> None:
    with pytest.raises(TraceError, match="row 3 is there twice"):
        list(interleaved(*(iter([(np.array([3]), BATCH)]) for _ in range(2))))
    ones = iter([(np.array([0, 2]), BATCH.slice(0, 2)), (np.array([5]), BATCH.slice(2, 1))])
    others = iter([(np.array([1, 7, 9]), BATCH.slice(3, 3))])
    got = list(interleaved(ones, others))
    assert [n for numbers, _ in got for n in numbers.tolist()] == [0, 1, 2, 5, 7, 9]
    assert [t for _, batch in got for t in batch["time_ns"].to_pylist()] == [0, 3, 1, 2, 4, 5]


BATCH = pa.record_batch({"time_ns": pa.array(range(6))})
