"""Reports: the figures of a small trace, hostile names, traces with nothing or too much in them."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.analysis.interop.sources import open_source
from nvscope.analysis.judging.findings import Finding, Result, StateView
from nvscope.analysis.judging.vm_state import ResultSink
from nvscope.analysis.report import verdicts
from nvscope.analysis.report.cli import report
from nvscope.analysis.report.measures.gather import Findings, gather
from nvscope.analysis.report.measures.vms import MAX_VMS
from nvscope.analysis.report.page import render
from nvscope.analysis.report.verdicts import Verdict
from nvscope.analysis.validate.jobs.run import validate
from nvscope.analysis.validate.verdicts import verdicts as verdicts_of
from nvscope.probes.traces.events import About, Event
from tests.unit.analysis.lives import altered, simulated, without_decisions
from tests.unit.analysis.naive import UnclearError, tell
from tests.unit.analysis.report.story import (
    ABOUT,
    FULL,
    KVM,
    MMU,
    MS,
    PAGE,
    Story,
    reader,
    story,
    written,
)

SAMPLES = sorted(Path("analysis/samples").resolve().rglob("*.arrows"))


def found(rows: list[Event], about: About = ABOUT) -> Findings:
    return gather(reader(rows, about))


def page(rows: list[Event], about: About = ABOUT) -> str:
    return render(found(rows, about), "host.arrows", None)


class Parsed(HTMLParser):
    """Tags that are open, texts, and what must not be there."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.stack.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_figures_of_a_small_trace() -> None:
    it = found(story())
    assert it.tally.rows == len(story())
    assert {name: latency.count for name, latency in it.tally.latencies.items()} == {
        "notifier": 2,
        "full": 1,
        "ranged": 2,
        "canonical": 1,
        "shadow": 8,
        "record": 8,
    }
    assert it.tally.latencies["shadow"].total_ns == 7 * 5000 + 7000
    assert it.fallbacks == {"unknown_ipa": 1}
    assert it.unmaps == {"ranged notifier": 1, "full notifier": 1, "ranged tlbi": 1}
    assert it.tally.comms == {"kswapd0": 2}


def test_what_unmaps_took_and_what_had_to_go() -> None:
    costs = found(story()).follower.costs.scopes
    assert (costs["ranged"].taken_bytes, costs["ranged"].needed_bytes) == (PAGE, PAGE)
    # Five are mapped by then, and the page is at two nested IPAs.
    assert (costs["full"].taken_bytes, costs["full"].needed_bytes) == (5 * PAGE, 2 * PAGE)
    assert costs["ranged"].unmaps == costs["full"].unmaps == 1


def test_what_it_costs_to_fault_back() -> None:
    costs = found(story()).follower.costs
    ranged, full = costs.scopes["ranged"], costs.scopes["full"]
    assert (ranged.refaults, ranged.refault_ns, ranged.back) == (1, 7000, 1)
    assert (full.refaults, full.refault_ns, full.back) == (2, 10_000, 0)
    dearest = costs.worst()
    assert [unmap.refault_ns for unmap in dearest] == [10_000, 7000]
    assert dearest[0].reason == "unknown_ipa"
    assert dearest[0].owed_bytes == 3 * PAGE
    assert dearest[1].back_ns - dearest[1].time_ns == 4 * MS


def test_a_tlbi_owes_nothing() -> None:
    tale = Story()
    tale.fault(0, 0x40000000)
    tale.add("unmap_end", mmu=MMU, size=PAGE, detail="tlbi")
    tale.fault(0, 0x40000000)
    assert found(tale.rows).follower.costs.scopes["ranged"].unmaps == 0


def test_part_of_a_block_comes_back() -> None:
    tale = Story()
    block = {"mmu": MMU, "canonical_ipa": 0x40000000, "size": 1 << 21, "tid": 1}
    tale.add("map", **block)
    tale.notifier(0x40000000, {"nested_ipa": 0, "size": 1 << 21})
    tale.fault(PAGE, 0x40001000)
    (unmap,) = found(tale.rows).follower.costs.worst()
    assert unmap.taken_bytes - unmap.owed_bytes == PAGE
    assert unmap.needed_bytes == 1 << 21  # a block goes as a whole


def test_a_fault_is_charged_to_what_its_own_map_brought_back() -> None:
    """The first fault's end is missing: the next fault has nothing to do with the unmap."""
    tale = Story()
    tale.fault(0, 0x40000000)
    tale.notifier(0x40000000, {"nested_ipa": 0, "size": PAGE})
    tale.fault(0, 0x40000000)
    del tale.rows[-1]
    tale.fault(PAGE, 0x40001000)
    costs = found(tale.rows).follower.costs
    assert (costs.scopes["ranged"].refaults, costs.scopes["ranged"].back) == (0, 1)


def test_mappings_that_no_page_table_has_are_left_out_and_said() -> None:
    rows = [*story(), Event("map", 99 * MS, kvm=KVM, mmu=MMU, size=3 * PAGE)]
    assert "Left out, for no page table has their size: 1 mappings" in Parsed(page(rows)).text
    assert "Left out" not in Parsed(page(story())).text


def test_the_picture_is_of_when_most_was_mapped() -> None:
    (vm,) = found(story()).vms.seen
    assert vm.picture
    (mmu,) = vm.picture.mmus
    assert mmu.mappings == 5
    assert [tuple(segment) for segment in mmu.segments] == [
        (0x80000000, 0x40000000, 4 * PAGE),
        (0x90000000, 0x40002000, PAGE),
    ]
    assert mmu.unknown == [(0x40002000, 0x40003000)]


def test_a_kvm_pointer_is_reused() -> None:
    first, second = Story(), Story()
    first.fault(0, 0x40000000)
    first.add("vm_exit")
    second.now = first.now
    second.add("mmu_init", vm="beta")
    second.fault(0, 0x40000000, cost=9000)
    it = found([*first.rows, *second.rows])
    assert [(vm.kvm, vm.ended) for vm in it.vms.seen] == [(KVM, True), (KVM, False)]
    assert [vm.latencies["shadow"].total_ns for vm in it.vms.seen] == [5000, 9000]


def test_more_vms_than_are_told_apart() -> None:
    rows = [
        Event("fault", i, kvm=i + 1, mmu=7, duration_ns=10, vm=f"vm{i}") for i in range(MAX_VMS + 9)
    ]
    it = found(rows)
    assert len(it.vms.seen) == MAX_VMS
    assert it.tally.latencies["shadow"].count == MAX_VMS + 9
    assert f"first {MAX_VMS} VMs" in render(it, "x", None)


def test_the_page_is_whole_and_alone() -> None:
    html = page(story())
    parsed = Parsed(html)
    assert parsed.stack == []
    assert "script" not in parsed.tags
    assert all(address.startswith("data:") for address in parsed.addresses)
    assert not re.search(r"@import|url\(", html)
    words = ("Over-unmap ratio", "unknown_ipa", "7.3.4 aarch64", "VM 1: alpha", "not attached")
    for word in (*words, "2023-11-14 22:13:20 UTC", "complete", "Not validated"):
        assert word in parsed.text


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "a\n\0\x1b[31m'",
        "x" * 9999,
    ],
    ids=["script", "quotes", "control", "long"],
)
def test_hostile_names(name: str) -> None:
    rows = [
        Event(
            event.kind,
            **{
                field: getattr(event, field)
                for field in Event.__slots__
                if field not in ("kind", "vm", "comm", "detail")
            },
            vm=name,
            comm=name,
            detail=name,
        )
        for event in story()
    ]
    about = About(
        name, name, name, name, probes={name: name}, recorder=name, host=name, machine=name
    )
    html = render(found(rows, about), name, (Verdict("safety", "pass", "<img>"),))
    parsed = Parsed(html)
    assert parsed.stack == []
    assert not {"script", "img"} & set(parsed.tags)
    assert "\0" not in html and "\x1b" not in html
    assert len(html) < 300_000


def test_hostile_numbers() -> None:
    big = (1 << 64) - 1
    rows = [
        Event(kind, big, mmu=mmu, kvm=big, canonical_ipa=big, nested_ipa=big, size=big, count=9,
              duration_ns=big, result=-(1 << 31), full=full)
        for kind in ("map", "record", "fault", "unmap_begin", "unmap_end", "notifier_end", "loss")
        for mmu in (0, big)
        for full in (False, True)
    ]  # fmt: skip
    rows.append(Event("map", 0, mmu=1, size=big, nested_ipa=3))
    assert Parsed(page(rows, About(started_ns=big, started_unix_ns=1 << 70))).stack == []


def test_nothing_in_a_trace() -> None:
    text = Parsed(page([])).text
    for word in ("No durations", "No shadow unmap", "No VM was seen", "No shadow mapping"):
        assert word in text


def test_a_kernel_without_a_reverse_map() -> None:
    text = Parsed(page(story()[:4], About(revmap="none"))).text
    assert "every notifier unmap is a full unmap" in text


def test_the_host_is_said_and_whether_it_is_emulated() -> None:
    lab = Parsed(page(story(), About(host="db7", machine="emulated"))).text
    assert "db7 (emulated: no performance figures)" in lab
    assert "db7 (physical)" in Parsed(page(story(), About(host="db7", machine="physical"))).text
    assert "emulated" not in Parsed(page(story(), About())).text  # an older trace


def test_losses_and_early_ends_are_said() -> None:
    rows = [*story(), Event("loss", 99 * MS, detail="ring_full", count=17)]
    it = gather(reader(rows, ended=False))
    text = Parsed(render(it, "x", None)).text
    assert "17 events are missing" in text
    assert "17 ring_full" in text
    assert "cut short: the recorder did not end it" in text


def test_verdicts_of_the_validator() -> None:
    event = Event("notifier_end")
    result = Result(ABOUT, "v2", lacks={"conformance": "no <model> knows it"})
    assert [v.answer for v in verdicts.verdicts(result)] == ["not judged"] * 4
    result.judged.update(safety=4)
    result.notifiers, result.full_unmaps, result.unmapped_bytes, result.needed_bytes = 4, 2, 6, 3
    said = verdicts.verdicts(result)
    assert [v.answer for v in said] == ["pass", "pass", "pass", "not judged", "2"]
    assert said[3].text.endswith("no <model> knows it")
    for _ in range(9):
        result.take(Finding("safety", 6, event, 0x7, "none left", "<1> left", StateView()))
    ResultSink(result, lambda row: event).unjudged("events were lost", "safety", "fallback")
    said = verdicts.verdicts(result)
    answers = ["violation", "unknown", "pass", "not judged", "2", "unknown"]
    assert [v.answer for v in said] == answers
    assert len(said[0].details) == 7
    html = render(found(story()), "x", said)
    assert "&lt;1&gt; left" in html
    assert "and 4 more" in html
    assert "not known, 1: events were lost" in html
    assert "2 were full" in html


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_verdicts_and_figures_are_those_of_validate(sample: Path) -> None:
    said = validate(sample)
    answers = {v.invariant: v.answer for v in verdicts.read(sample)}
    assert all(answers[each.invariant] == each.answer for each in verdicts_of(said))
    with open_source(sample) as source:
        costs = gather(source).follower.costs.scopes
    assert sum(cost.taken_bytes for cost in costs.values()) == said.unmapped_bytes
    assert sum(cost.needed_bytes for cost in costs.values()) == said.needed_bytes
    assert [costs[scope].unmaps for scope in ("full", "ranged")] == [
        *(said.full_unmaps, said.ranged_unmaps)
    ]


@pytest.mark.parametrize("revmap", ["maple-v2", "none"])
def test_so_are_those_of_simulated_lives(revmap: str) -> None:
    """Where no two unmaps of an MMU overlap: a report counts when they begin, not when they end."""
    compared = 0
    for seed in range(60):
        rows = altered(simulated(seed, 40, revmap), random.Random(seed))
        try:
            told = tell(without_decisions(rows)).figures
        except UnclearError:
            continue
        if any(
            this.kind == next_.kind == "unmap_begin" and this.mmu == next_.mmu
            for this, next_ in pairwise(e for e in rows if e.kind.startswith("unmap"))
        ):
            continue
        costs = gather(reader(rows)).follower.costs.scopes
        assert sum(cost.taken_bytes for cost in costs.values()) == told["unmapped_bytes"]
        assert sum(cost.needed_bytes for cost in costs.values()) == told["needed_bytes"]
        assert costs["full"].unmaps == told["full_unmaps"]
        compared += told["unmapped_bytes"] > told["needed_bytes"]
    assert compared > 20


def test_the_command(tmp_path: Path) -> None:
    trace = tmp_path / "host.arrows"
    trace.write_bytes(written(story()))
    result = CliRunner().invoke(report, [str(trace)])
    assert (result.exit_code, result.stderr) == (0, "")
    html = (tmp_path / "host.html").read_text()
    assert "safety" in html
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["host.arrows", "host.html"]


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (None, [], "No such file"),
        (b"", [], "no Arrow stream"),
        (b"<html>", [], "this is a web page"),
        (b"\xff" * 4096, [], "no Arrow stream"),
        (written(story()), ["-o", "/nonexistent/x.html"], "cannot write /nonexistent/x.html"),
    ],
)
def test_what_will_not_do(
    content: bytes | None, arguments: list[str], words: str, tmp_path: Path
) -> None:
    trace = tmp_path / "bad.arrows"
    if content is not None:
        trace.write_bytes(content)
    result = CliRunner().invoke(report, [str(trace), *arguments])
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "bad.html").exists()


def test_damaged_traces(tmp_path: Path) -> None:
    data = written(story())
    trace = tmp_path / "bad.arrows"
    for at in range(0, 3000, 13):
        bad = bytearray(data)
        bad[at] ^= 0xFF
        trace.write_bytes(bad)
        result = CliRunner().invoke(report, [str(trace), "--no-validate"])
        assert result.exit_code in (0, 2), (at, result.exception)
        assert result.stderr.count("\n") == (result.exit_code == 2)


def test_the_trace_is_not_overwritten(tmp_path: Path) -> None:
    trace = tmp_path / "trace.html"
    trace.write_bytes(written(story()))
    result = CliRunner().invoke(report, [str(trace)])
    assert result.exit_code == 2
    assert "-o" in result.stderr
    assert trace.read_bytes() == written(story())


def test_memory_has_a_bound() -> None:
    tale = Story()
    for i in range(300):
        tale.fault(0, 0x40000000)
        tale.notifier(0x40000000, {"nested_ipa": 0, "size": PAGE})
        tale.notifier(0x40000000, {"size": FULL, "full": True}, reason="raced")
        tale.now += i * 10**9
    costs = found(tale.rows).follower.costs
    assert costs.scopes["ranged"].back == 299
    assert costs.scopes["full"].took_nothing == 300
    assert not costs._open
    assert len(costs._worst) <= 15
