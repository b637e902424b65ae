"""Traces as Parquet and back, and as JSON for Perfetto; recipes for other tools."""

from __future__ import annotations

import gzip
import io
import json
import resource
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.interop.cli import convert
from nvscope.analysis.interop.perfetto import perfetto
from nvscope.analysis.interop.perfetto.lanes import Lanes
from nvscope.analysis.interop.sources import open_source
from nvscope.analysis.interop.texts.commands import ftrace_commands, perf_commands
from nvscope.analysis.interop.texts.recipe import recipe, recipe_here
from nvscope.probes.errors import LackError
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.features import Roots
from nvscope.probes.traces.events import KINDS, Event
from nvscope.probes.traces.tracefile import SCHEMA, events, open_trace
from tests.unit.analysis.report.story import ABOUT, FULL, KVM, MMU, PAGE, Story, story, written
from tests.unit.probes.kernel import btfs as probes_btf

Json = dict[str, Any]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(convert, [str(each) for each in arguments])


def trace(tmp_path: Path, rows: list[Event] | None = None, *, ended: bool = True) -> Path:
    path = tmp_path / "in.arrows"
    path.write_bytes(written(story() if rows is None else rows, ended=ended))
    return path


def as_json(tmp_path: Path, rows: list[Event], name: str = "out.json") -> Json:
    result = run(trace(tmp_path, rows), tmp_path / name)
    assert result.exit_code == 0, result.output
    data = (tmp_path / name).read_bytes()
    said = json.loads(gzip.decompress(data) if name.endswith(".gz") else data)
    check(said)
    assert isinstance(said, dict)
    return said


def check(said: Json) -> None:
    """That ui.perfetto.dev can make sense of it."""
    assert said["displayTimeUnit"] in ("ms", "ns")
    named: set[tuple[int, int]] = set()
    slices: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    starts: dict[int, Json] = {}
    flows: Counter[int] = Counter()
    for each in said["traceEvents"]:
        assert each["ph"] in "MXisf", each
        assert isinstance(each["pid"], int) and isinstance(each["tid"], int)
        place = each["pid"], each["tid"]
        if each["ph"] == "M":
            assert each["name"] in ("process_name", "thread_name", "thread_sort_index")
            named.add(place)
            continue
        assert each["ts"] >= 0
        assert place in named or place == (0, 0), each
        if each["ph"] == "X":
            assert each["dur"] >= 0
            slices[place].append((each["ts"], each["ts"] + each["dur"]))
        elif each["ph"] == "i":
            assert each["s"] in "gpt"
        elif each["ph"] == "s":
            assert each["id"] not in starts
            starts[each["id"]] = each
        else:
            assert each["bp"] == "e"
            assert starts[each["id"]]["name"] == each["name"]
            assert starts[each["id"]]["cat"] == each["cat"]
            assert starts[each["id"]]["ts"] <= each["ts"]
            flows[each["id"]] += 1
    assert flows == dict.fromkeys(starts, 1)
    for place in slices:
        nest(sorted(slices[place], key=lambda each: (each[0], -each[1])))
    for each in said["traceEvents"]:
        if each["ph"] in "sf":
            at = slices[each["pid"], each["tid"]]
            assert any(begin <= each["ts"] <= end for begin, end in at), each


def nest(slices: list[tuple[float, float]]) -> None:
    """Of two slices of a thread that meet, one holds the other."""
    open_: list[float] = []
    for begin, end in slices:
        while open_ and open_[-1] <= begin + 1e-6:
            open_.pop()
        assert not open_ or end <= open_[-1] + 1e-6, (begin, end)
        open_.append(end)


def test_perfetto(tmp_path: Path) -> None:
    said = as_json(tmp_path, story())
    shown = said["traceEvents"]
    names = {each["args"]["name"] for each in shown if "name" in each.get("args", ())}
    assert names == {"alpha", "notifier unmaps", "canonical faults", f"shadow MMU {MMU:#x}"}
    slices = Counter(each["name"] for each in shown if each["ph"] == "X")
    assert slices == {
        "notifier unmap": 2,
        "full unmap": 1,
        "ranged unmap": 2,
        "shadow fault": 8,
        "canonical fault": 1,
    }
    instants = Counter(each["name"] for each in shown if each["ph"] == "i")
    assert instants == {"record stored": 7, "record overlapped": 1, "fallback unknown_ipa": 1}
    assert said["otherData"]["kernel"] == "7.3.4"


def test_arrows_lead_from_unmaps_to_refaults(tmp_path: Path) -> None:
    shown = as_json(tmp_path, story())["traceEvents"]
    unmaps = {each["ts"]: each["name"] for each in shown if "unmap" in each.get("cat", "")}
    starts = [unmaps[each["ts"]] for each in shown if each["ph"] == "s"]
    assert starts == ["ranged unmap", "full unmap", "full unmap"]


def test_arrows_of_one_fault_are_in_order(tmp_path: Path) -> None:
    """A block brings back what several unmaps took: by address, each time that it is asked."""
    tale = Story()
    for page in range(16):
        tale.fault(page * PAGE, 0x40000000 + page * PAGE)
    for page in range(16):
        tale.notifier(0x40000000 + page * PAGE, {"nested_ipa": page * PAGE, "size": PAGE})
    tale.add("map", tid=1, mmu=MMU, canonical_ipa=0x40000000, size=16 * PAGE)
    tale.add("fault", tid=1, mmu=MMU, canonical_ipa=0x40000000, size=16 * PAGE)
    shown = as_json(tmp_path, tale.rows)["traceEvents"]
    starts = [each["ts"] for each in shown if each["ph"] == "s"]
    assert len(starts) == 16
    assert starts == sorted(starts)


def test_times_are_microseconds(tmp_path: Path) -> None:
    shown = as_json(tmp_path, [Event("fault", 5_000_000, duration_ns=1500, kvm=1)])["traceEvents"]
    (fault,) = [each for each in shown if each["ph"] == "X"]
    assert (fault["ts"], fault["dur"]) == (0, 1.5)


def test_arrows_have_a_bound(tmp_path: Path) -> None:
    tale = Story()
    for page in range(200):
        tale.fault(page * PAGE, 0x40000000 + page * PAGE)
    tale.notifier(0x40000000, {"size": FULL, "full": True}, reason="broken")
    for page in range(200):
        tale.fault(page * PAGE, 0x40000000 + page * PAGE)
    shown = as_json(tmp_path, tale.rows)["traceEvents"]
    assert sum(each["ph"] == "s" for each in shown) == perfetto.MAX_FLOWS


def test_faults_at_the_same_time_get_lanes(tmp_path: Path) -> None:
    rows = [
        Event("fault", 100 + i, kvm=1, mmu=7, tid=i, duration_ns=50, nested_ipa=i)
        for i in range(40)
    ]
    shown = as_json(tmp_path, rows)["traceEvents"]
    names = [each["args"]["name"] for each in shown if each["name"] == "thread_name"]
    assert names[:2] == ["shadow MMU 0x7", "shadow MMU 0x7 (2)"]
    assert len(names) == 40


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=40))
def test_slices_of_a_lane_nest(pairs: list[tuple[int, int]]) -> None:
    lanes, placed = Lanes(), defaultdict(list)
    for a, b in sorted(pairs, key=max):
        begin, end = min(a, b), max(a, b)
        placed[lanes.place(begin, end)].append((float(begin), float(end)))
    for slices in placed.values():
        nest(sorted(slices, key=lambda each: (each[0], -each[1])))


def test_a_pointer_that_is_reused_is_another_process(tmp_path: Path) -> None:
    tale = Story()
    tale.fault(0, 0x40000000)
    tale.add("vm_exit")
    tale.add("mmu_init", vm="beta")
    tale.add("fault", vm="beta")
    shown = as_json(tmp_path, tale.rows)["traceEvents"]
    names = {each["args"]["name"]: each["pid"] for each in shown if each["name"] == "process_name"}
    assert names == {"alpha": 1, "beta": 2}


def test_perfetto_of_hostile_rows(tmp_path: Path) -> None:
    big, name = (1 << 64) - 1, 'x"\n\0</script>\x1b' * 100_000
    rows = [
        Event(kind, time, kvm=big, mmu=mmu, nested_ipa=big, size=big, count=3, duration_ns=big,
              vm=name, comm=name, detail=name, full=full)
        for kind in KINDS
        for mmu in (0, big)
        for full in (False, True)
        for time in (7, big)
    ]  # fmt: skip
    said = as_json(tmp_path, rows, "out.json.gz")
    assert len(json.dumps(said)) < 200_000


def test_parquet_and_back(tmp_path: Path) -> None:
    source, archive, back = trace(tmp_path), tmp_path / "a.parquet", tmp_path / "b.arrows"
    assert run(source, archive).exit_code == 0
    assert run(archive, back).stdout == f"{back}: {len(story())} rows\n"
    assert pq.read_table(archive).num_rows == len(story())
    assert pq.ParquetFile(archive).metadata.row_group(0).column(1).compression == "ZSTD"
    with open_trace(back) as reader:
        assert list(reader.events()) == story()
        assert (reader.about, reader.complete) == (ABOUT, True)


@pytest.mark.parametrize("rows", [[], story()[:1]])
def test_parquet_of_little(rows: list[Event], tmp_path: Path) -> None:
    run(trace(tmp_path, rows), tmp_path / "a.parquet")
    run(tmp_path / "a.parquet", tmp_path / "b.arrows")
    with open_trace(tmp_path / "b.arrows") as reader:
        assert list(reader.events()) == rows


def test_a_trace_that_was_cut_short_stays_so(tmp_path: Path) -> None:
    run(trace(tmp_path, ended=False), tmp_path / "a.parquet")
    with open_source(tmp_path / "a.parquet") as source:
        assert [row for batch in source.batches() for row in events(batch)] == story()
        assert (source.complete, source.ending) == (False, "the recorder did not end it")
    run(tmp_path / "a.parquet", tmp_path / "b.arrows")
    with open_trace(tmp_path / "b.arrows") as reader:
        list(reader.batches())
        assert not reader.complete


def other_parquet(metadata: dict[str, str] | None = None, schema: pa.Schema = SCHEMA) -> bytes:
    stream = io.BytesIO()
    pq.write_table(schema.with_metadata(metadata).empty_table(), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no Parquet file"),
        (b"PAR1" + b"\xff" * 100 + b"PAR1", "no Parquet file"),
        (b"PAR1" + b"\x00" * 9 + b"\xff\xff\xff\x7fPAR1", "no Parquet file"),
        (other_parquet(), "no trace of nvscope's"),
        (other_parquet({"nvscope": "[" * 100_000}), "cannot be read"),
        (other_parquet({"nvscope": '{"schema": 99}'}), "version 99"),
        (other_parquet({"nvscope": "{}"}, pa.schema([("a", pa.int8())])), "not a trace's"),
        (
            other_parquet(
                {"nvscope": '{"schema": 1}'}, SCHEMA.set(1, pa.field("time_ns", "string"))
            ),
            "not a trace's",
        ),
    ],
)
def test_other_parquet_files(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    path.write_bytes(data)
    result = run(path, tmp_path / "out.arrows")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out.arrows").exists()


def test_damaged_parquet(tmp_path: Path) -> None:
    run(trace(tmp_path), tmp_path / "a.parquet")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    for at in range(4, len(data), max(1, len(data) // 60)):
        bad = data.copy()
        bad[at] ^= 0xFF
        (tmp_path / "b.parquet").write_bytes(bad)
        result = run(tmp_path / "b.parquet", tmp_path / "c.arrows")
        assert result.exit_code in (0, 2), (at, result.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["in.arrows"], "IN and OUT are both needed"),
        (["in.arrows", "in.arrows"], "is what is to be read"),
        (["in.arrows", "/nonexistent/a.parquet"], "cannot write /nonexistent/a.parquet"),
        (["in.arrows", "/dev/null", "--to", "parquet"], "no regular file"),
        (["absent.arrows", "a.parquet"], "No such file"),
        (["absent.perf", "a.parquet"], "No such file"),
        (["absent.parquet", "a.json"], "No such file"),
        ([".", "a.json", "--from", "perf"], "Is a directory"),
        ([".", "a.json", "--from", "parquet"], "no Parquet file"),
    ],
)
def test_what_will_not_do(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["in.arrows"]


@pytest.mark.parametrize("fault", ["desc", "parameters"])
def test_a_recipe(fault: str, tmp_path: Path) -> None:
    btf = Btf(probes_btf.kernel(tmp_path / "btf", revmap="maple", fault=fault))
    made = recipe(btf, "7.3.4")
    lines = {line.split(":", 1)[1].split()[0]: line for line in made.events}
    assert lines["nv/notifier_begin"] == (
        "p:nv/notifier_begin kvm_unmap_gfn_range kvm=$arg1:x64 pid=+12($arg1):s32"
        " start=+0($arg2):x64 end=+8($arg2):x64 may_block=+16($arg2):u8"
    )
    assert lines["nv/record_end"] == (
        "r1024:nv/record_end kvm_nested_revmap_record result=$retval:u32"
    )
    vcpu, ipa, nested = (
        ("$arg1", "$arg2", "$arg3")
        if fault == "parameters"
        else ("+0($arg1)", "+8($arg1)", "+16($arg1)")
    )
    assert lines["nv/fault_begin"] == (
        f"p:nv/fault_begin user_mem_abort kvm=+16({vcpu}):x64 pid=+12(+16({vcpu})):s32"
        f" mmu=+32({vcpu}):x64 ipa={ipa}:x64 nested={nested}:x64 output=+0({nested}):x64"
    )
    assert made.offsets == {"arch": 16, "canonical": 8}
    assert made.words["kvm_revmap_fallback"] == {"0": "broken", "1": "unknown_ipa", "2": "raced"}
    assert all(made.probes.values())
    # The kernel takes no longer argument (MAX_ARGSTR_LEN of its trace_probe.h).
    assert max(len(word) for line in made.events for word in line.split()) < 255


def test_a_recipe_of_a_kernel_without_a_reverse_map(tmp_path: Path) -> None:
    made = recipe(Btf(probes_btf.kernel(tmp_path / "btf")))
    assert made.revmap == "none"
    assert not any("revmap" in line for line in made.events)
    assert "revmap_record" not in made.probes


def test_a_recipe_of_a_kernel_that_moves_its_mmus(tmp_path: Path) -> None:
    made = recipe(Btf(probes_btf.kernel(tmp_path / "btf", fault="inlined", moves=True)))
    assert made.events[-1] == (
        "r1024:nv/mmus kvm_vcpu_init_nested kvm=+16($arg1):x64 mmus=+16(+16($arg1)):x64"
    )
    assert made.probes["s2_fault"] == ""
    assert not any(
        "nv/mmus" in line for line in recipe(Btf(probes_btf.kernel(tmp_path / "b"))).events
    )


def test_what_the_kernel_lacks_is_said(tmp_path: Path) -> None:
    btf = Btf(probes_btf.kernel(tmp_path / "btf", revmap="maple", prefix="other"))
    made = recipe(btf)
    assert made.probes["revmap_record"] == ""
    assert not any("record" in line for line in made.events)


def test_commands_are_undone(tmp_path: Path) -> None:
    made = recipe(Btf(probes_btf.kernel(tmp_path / "btf", revmap="maple")))
    for commands in (ftrace_commands, perf_commands):
        lines = list(commands(made))
        added = [
            line.split(":", 1)[1].split()[0] for line in lines if line[:7] in ("echo 'p", "echo 'r")
        ]
        removed = [line.split("'")[1][2:] for line in lines if line.startswith("echo '-:")]
        assert added == removed
        assert any(made.header() in line for line in lines)


def test_the_recipe_of_this_host(tmp_path: Path) -> None:
    boot = tmp_path / "proc/sys/kernel/random"
    boot.mkdir(parents=True)
    (boot / "boot_id").write_text("b007\n")
    (tmp_path / "sys/kernel/btf").mkdir(parents=True)
    probes_btf.kernel(tmp_path / "sys/kernel/btf/vmlinux", revmap="maple")
    switch = tmp_path / "sys/module/kvm_arm/parameters"
    switch.mkdir(parents=True)
    roots = Roots(tmp_path / "proc", tmp_path / "sys", tmp_path / "dev")
    made = recipe_here(roots, "aarch64")
    assert (made.boot_id, made.revmap) == ("b007", "maple")
    assert made.page_bytes == resource.getpagesize()
    (switch / "nested_revmap").write_text("N\n")
    assert recipe_here(roots, "aarch64").revmap == "none"


def test_no_recipe_for_other_machines(tmp_path: Path) -> None:
    with pytest.raises(LackError, match="this is x86_64"):
        recipe_here(Roots(tmp_path, tmp_path, tmp_path), "x86_64")


def test_vms_are_told_apart() -> None:
    converter = perfetto.Converter()
    rows = [Event("fault", 9, kvm=KVM + i, pid=i, duration_ns=1) for i in range(3)]
    places = {each["pid"] for row in rows for each in converter.objects(row)}
    assert places == {1, 2, 3}
