"""Recordings of ftrace, trace-cmd and perf become traces, whatever is in them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.interop.cli import convert
from nvscope.analysis.interop.texts import header
from nvscope.analysis.interop.texts.rows import Rows
from nvscope.analysis.interop.texts.text import FORMATS, Mark, Raw, Seen, parse
from nvscope.analysis.validate.jobs.run import validate
from nvscope.probes.traces.events import KINDS as EVENT_KINDS
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import open_trace
from tests.unit.analysis.interop.recorded import (
    ARCH,
    FULL,
    HEADER,
    KINDS,
    KVM,
    MMU,
    TOOLS,
    Line,
    events,
    ftrace,
    perf,
)


def converted(tmp_path: Path, text: str | bytes, name: str, *options: str) -> Result:
    source = tmp_path / name
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CliRunner().invoke(convert, [str(source), str(tmp_path / "out.arrows"), *options])


def read(tmp_path: Path) -> tuple[About, list[Event]]:
    with open_trace(tmp_path / "out.arrows") as reader:
        rows = list(reader.events())
        assert reader.complete
        return reader.about, rows


def parsed(text: str, tool: str) -> tuple[list[Raw | Mark], Seen]:
    seen = Seen()
    return list(parse(io.BytesIO(text.encode()), FORMATS[tool], seen)), seen


@pytest.mark.parametrize("tool", TOOLS)
def test_a_recording_becomes_a_trace(tool: str, tmp_path: Path) -> None:
    name = "in.perf" if tool == "perf" else "in.ftrace"
    result = converted(tmp_path, HEADER + TOOLS[tool](events()), name)
    assert (result.exit_code, result.stderr) == (0, "")
    about, rows = read(tmp_path)
    assert [row.kind for row in rows] == KINDS
    assert (about.kernel, about.arch, about.revmap, about.boot_id) == (
        *("7.3.4", "aarch64", "maple", "b007"),
    )
    assert about.probes == {"notifier_unmap": "kprobe kvm_unmap_gfn_range"}
    assert {row.kvm for row in rows} == {KVM}
    assert {row.pid for row in rows[1:]} == {70}
    assert {row.mmu for row in rows if row.kind in ("record", "map", "unmap_end")} == {MMU}
    assert {row.comm for row in rows} == {"CPU 0/KVM", "kswapd0"}


def test_what_rows_say(tmp_path: Path) -> None:
    converted(tmp_path, HEADER + ftrace(events()), "in.txt")
    _, rows = read(tmp_path)
    canonical, record, mapped, fault = rows[2:6]
    assert (canonical.mmu, canonical.canonical_ipa, canonical.nested_ipa) == (0, 0x40000000, 0)
    assert (record.detail, record.duration_ns, record.nested_ipa) == ("stored", 10_000, 0x80000000)
    assert (mapped.canonical_ipa, mapped.nested_ipa, mapped.size) == (0x40000000, 0x80000000, 4096)
    assert (fault.canonical_ipa, fault.duration_ns, fault.mmu) == (0x40000010, 50_000, MMU)
    begin, unmap, _, end = rows[6:10]
    assert (begin.canonical_ipa, begin.size, begin.may_block) == (0x40000000, 4096, True)
    assert (unmap.full, unmap.detail, unmap.nested_ipa) == (False, "notifier", 0x80000000)
    assert end.duration_ns == 50_000
    (full,) = [row for row in rows if row.full and row.kind == "unmap_end"]
    assert (full.size, full.detail) == (FULL, "notifier")
    (fallback,) = [row for row in rows if row.kind == "fallback"]
    assert fallback.detail == "unknown_ipa"


def test_the_validator_can_judge_it(tmp_path: Path) -> None:
    converted(tmp_path, HEADER + perf(events()), "in.perf")
    result = validate(tmp_path / "out.arrows")
    assert (result.verdict, dict(result.unjudged)) == ("pass", {})
    assert result.judged["safety"] and result.judged["conformance"]


def test_the_validator_finds_what_is_wrong(tmp_path: Path) -> None:
    lines = events()
    where = [i for i, line in enumerate(lines) if "size=0x1000000000000" in line.values]
    lines = [line for i, line in enumerate(lines) if i not in (where[0], where[0] + 1)]
    converted(tmp_path, HEADER + perf(lines), "in.perf")
    assert validate(tmp_path / "out.arrows").verdict == "violation"


@pytest.mark.parametrize(
    ("mark", "count"),
    [
        ("CPU:1 [LOST 123 EVENTS]", 123),
        ("CPU:1 [LOST EVENTS]", 1),
        ("CPU:0 [45 EVENTS DROPPED]", 45),
        ("CPU:0 [EVENTS DROPPED]", 1),
        ("            perf   123 [000]  1.000000000: PERF_RECORD_LOST lost 9", 9),
        ("            perf   123 [000]  1.000000000: PERF_RECORD_LOST_SAMPLES lost 8", 8),
    ],
)
def test_losses(mark: str, count: int, tmp_path: Path) -> None:
    lines = events()
    text = HEADER + ftrace(lines[:9]) + mark + "\n" + ftrace(lines[9:])
    result = converted(tmp_path, text, "in.ftrace")
    assert result.exit_code == 0
    _, rows = read(tmp_path)
    losses = [(row.detail, row.count) for row in rows if row.kind == "loss"]
    # Of the fault that was under way, it is no longer known where its mapping leads.
    assert losses == [("ring_full", count), ("no_canonical", 1)]
    assert validate(tmp_path / "out.arrows").verdict == "unknown"


def test_calls_that_a_kretprobe_missed(tmp_path: Path) -> None:
    profile = f"  {'notifier_end':<44} {7:15} {0:15}\n  {'map_end':<44} {7:15} {3:15}\n"
    converted(tmp_path, HEADER + ftrace(events()) + profile, "in.ftrace")
    _, rows = read(tmp_path)
    assert [(row.count, row.detail) for row in rows if row.kind == "loss"] == [(3, "missed")]


def vcpu_initialised(mmus: int, time_us: int) -> Line:
    values = f"kvm={KVM:#x} mmus={mmus:#x}"
    return Line("CPU 0/KVM", 71, 1, time_us, "mmus", values)


@pytest.mark.parametrize(
    ("begun", "arrays", "moved"),
    [
        (True, (0x1000,), 0),
        (True, (0x1000, 0x1000), 0),  # there was room for more
        (True, (0x1000, 0x2000), 1),
        (False, (0x1000,), 1),  # where they were before, nobody has seen
        (False, (0x1000, 0x1000), 1),
    ],
)
def test_shadow_mmus_that_were_moved(
    begun: bool, arrays: tuple[int, ...], moved: int, tmp_path: Path
) -> None:
    lines = [replace(line, time_us=line.time_us + 100) for line in events()]
    begin = Line("CPU 0/KVM", 71, 1, 1_000_000, "mmu_init", f"kvm={KVM:#x} mmu={ARCH:#x}")
    inits = [vcpu_initialised(at, 1_000_001 + i) for i, at in enumerate(arrays)]
    text = HEADER + ftrace([*([begin] if begun else []), *inits, *lines])
    assert converted(tmp_path, text, "in.ftrace").exit_code == 0
    _, rows = read(tmp_path)
    losses = [(row.detail, row.count) for row in rows if row.kind == "loss"]
    assert losses == [("mmus_moved", 1)] * moved


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    "comm",
    [
        "a b",
        "-",
        "x-1",
        "1 2",
        "[003]",
        "a-1 [000]",
        "a-1 [000] x 1.0",
        "e: x=1",
        ")(",
        "é\ufffd",
        "#",
    ],
)
def test_comms(comm: str, tool: str) -> None:
    line = events()[0]
    hostile = type(line)(comm, line.tid, line.cpu, line.time_us, line.event, line.values)
    text = TOOLS[tool]([hostile])
    (raw,), seen = parsed(text, "perf" if tool == "perf" else "ftrace")
    assert isinstance(raw, Raw)
    assert (raw.comm, raw.tid, raw.cpu, raw.event) == (comm, 71, 1, "mmu_init")
    assert raw.time_ns == 1_000_000_000
    assert seen.unknown == 0


@pytest.mark.parametrize(
    "line",
    [
        "  qemu-71 (70) [001] d..1. 1.000000: mmu_init: (f+0x0) kvm=0x1 mmu=0x2",
        "  qemu-71 (-------) [001] ...1 1.000000: mmu_init: (f+0x0) kvm=0x1 mmu=0x2",
        "  qemu-71 [001] 1.000000: mmu_init: (f) kvm=0x1 mmu=0x2",
        "<...>-71    [001] .....  1.000000: mmu_init: (f+0x0/0x80) kvm=0x1 mmu=0x2",
        "<...>-71    [001] dNh2.  1.000000000: nv:mmu_init:  (f+0x0/0x80) kvm=1 mmu=2",
    ],
)
def test_columns_that_differ(line: str) -> None:
    (raw,), _ = parsed(line + "\n", "ftrace")
    assert isinstance(raw, Raw)
    assert (raw.tid, raw.cpu, raw.time_ns, raw.event) == (71, 1, 10**9, "mmu_init")
    assert (raw.values["kvm"], raw.values["mmu"]) == (1, 2)


def test_perf_with_process_and_thread() -> None:
    (raw,), _ = parsed("CPU 0/KVM 70/71 [001] 1.5000000: nv:vm_exit: (f) kvm=0x1\n", "perf")
    assert isinstance(raw, Raw)
    assert (raw.comm, raw.tid) == ("CPU 0/KVM", 71)


def test_unknown_lines_are_counted_and_said(tmp_path: Path) -> None:
    text = HEADER + "what is this\n" + ftrace(events()) + "and \x1b[31m this\n"
    result = converted(tmp_path, text, "in.ftrace")
    assert result.exit_code == 0
    assert "2 lines were not understood, the first: 'what is this'" in result.stderr
    _, rows = read(tmp_path)
    # Each may have been an event: before the first one, and after the last.
    assert [row.kind for row in rows] == ["loss", *KINDS, "loss"]
    assert {row.detail for row in rows if row.kind == "loss"} == {"not_understood"}


def test_the_tracepoint_and_host_addresses(tmp_path: Path) -> None:
    mmu = f"{MMU:016x}"
    text = (
        f"kswapd0-40 [000] d.... 1.0000000: kvm_nested_revmap_broken: mmu: {mmu} cause: store\n"
        "kswapd0-40 [000] d.... 1.1000000: kvm_unmap_hva_range: unmap: 0x1 -- 2\n"
    )
    result = converted(tmp_path, text, "in.ftrace", "--revmap", "maple")
    _, rows = read(tmp_path)
    assert [(row.kind, row.mmu) for row in rows] == [("broken", MMU)]
    assert "kvm_unmap_hva_range has host virtual addresses only" in result.stderr
    assert "no header" in result.stderr


def test_a_text_without_a_header(tmp_path: Path) -> None:
    result = converted(tmp_path, ftrace(events()), "in.ftrace")
    assert "no header of a recipe" in result.stderr
    about, rows = read(tmp_path)
    assert about.revmap == "maple"  # there are records
    assert {row.detail for row in rows if row.kind == "record"} == {"stored", "overlapped"}


def test_without_vtcr_and_with_full() -> None:
    def full(values: str) -> bool:
        text = f"k-4 [000] d.... 1.000000: unmap_begin: (f) mmu=0x7 {values}\n"
        (raw,), _ = parsed(text, "ftrace")
        (row,) = Rows().rows(raw)
        return row.full

    assert full("start=0x0 size=0x1000000000000")
    assert not full("start=0x0 size=0x200000")
    assert not full("start=0x1000 size=0x1000000000000")
    assert full("start=0x0 size=0x1000 full=1")
    assert not full("start=0x0 size=0x1000000000000 full=0")


def test_a_map_that_leads_nowhere_known() -> None:
    text = (
        "q-4 [000] d.... 1.000000: map_begin: (f) mmu=0x7 addr=0x1000 size=0x1000\n"
        "q-4 [000] d.... 1.000001: map_end: (f <- g) result=0\n"
    )
    items, _ = parsed(text, "ftrace")
    rows_of = Rows()
    rows = [row for item in items for row in rows_of.rows(item)]
    assert [(row.kind, row.detail) for row in rows] == [("loss", "no_canonical")]


def test_times_that_go_back_and_ties() -> None:
    rows = Rows()
    at = [(5, 0), (5, 1), (4, 0), (6, 0)]
    seen = [list(rows.rows(Raw(t, cpu, 1, "c", "vm_exit", {}))) for t, cpu in at]
    assert [len(each) for each in seen] == [1, 1, 0, 1]
    assert rows.ties == 1
    assert sum(rows.dropped.values()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no event in it that is known"),
        (b"\0" * 100_000, "this is nothing but zeros"),
        (b"\xff\xfe" * 50_000, "this is a text in UTF-16"),
        (b"\0\1" * 50_000, "no event in it that is known"),
        (b"\xfe\xfd" * 50_000, "no event in it that is known"),
        (b"# nvscope: " + b"[" * 60_000, "no event in it that is known"),
        (b"x" * 5_000_000, "no event in it that is known"),
        (b"a-1 [000] .... 1.000000: foo: bar\n", "no event in it that is known"),
    ],
)
def test_hostile_texts(text: bytes, words: str, tmp_path: Path) -> None:
    result = converted(tmp_path, text, "in.ftrace")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.isprintable() or result.stderr.strip().isprintable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ftrace"]


def test_numbers_that_fit_nowhere(tmp_path: Path) -> None:
    big = "0xffffffffffffffff"
    names = "kvm pid mmu arch start end size vtcr may_block ipa nested output addr canonical reason"
    values = " ".join(f"{name}={big}" for name in [*names.split(), "result"])
    events = [
        *("mmu_init", "notifier_begin", "unmap_begin", "unmap_end", "notifier_end", "fault_begin"),
        *("record_begin", "record_end", "map_begin", "map_end", "fault_end", "fallback", "broken"),
    ]
    text = "".join(
        f"q-99999999999 [99999] d {seconds}.000{i:03}: {event}: (f) {values}\n"
        for seconds in ("9999999999", "99999999999")
        for i, event in enumerate(events)
    )
    result = converted(tmp_path, HEADER + text, "in.ftrace")
    assert result.exit_code in (0, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


@given(st.lists(st.sampled_from(events()), max_size=30), st.binary(max_size=60), st.integers(0, 9))
def test_any_order_and_any_noise(lines: list[object], noise: bytes, at: int) -> None:
    text = ftrace(lines).encode()  # type: ignore[arg-type]
    text = text[: at * 40] + noise + text[at * 40 :]
    rows = Rows({}, {"arch": 7, "canonical": 1})
    for item in parse(io.BytesIO(text), FORMATS["ftrace"], Seen()):
        for row in rows.rows(item):
            assert row.kind in EVENT_KINDS


def test_headers() -> None:
    assert not header.parse("null").found
    assert header.parse('{"revmap": "other", "offsets": {"arch": true}}').revmap == ""
    assert header.parse('{"page_bytes": 65536}').page_bytes == 65536
    assert header.parse('{"page_bytes": 3}').page_bytes == 4096
    assert re.match("kprobe", header.read(io.BytesIO(HEADER.encode())).probes["notifier_unmap"])  # type: ignore[index]
