"""`nvscope validate --require`: what must be so, in all formats and ways of judging."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.judging import findings
from nvscope.analysis.validate.cli import validate
from nvscope.analysis.validate.require import SpecError, answers, parse
from nvscope.analysis.validate.verdicts import JUDGED
from nvscope.probes.traces.events import About, Event
from tests.unit.analysis.fleet import partition
from tests.unit.analysis.kernel import BLOCK, PAGE, Kernel
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, VM, Events, booted, judged, of_kind, without, written

C, N = 4 * BLOCK, 9 * BLOCK
LOSS = Event("loss", detail="ring_full", count=5)


def four_pages(revmap: str = "maple-v2", wanted: int = 2) -> Kernel:
    """So many of four pages are taken back: without a reverse map, all go each time."""
    kernel = booted(revmap)
    for page in range(4):
        kernel.fault(VM, M1, N + page * PAGE, C + page * PAGE, PAGE)
    kernel.notifier(VM, C, wanted * PAGE)
    return kernel


def answer(spec: str, events: Events, variant: str = "maple-v2", **about: object) -> list[str]:
    said = answers(judged(events, variant, **about), parse(spec))
    assert [each.requirement for each in said] == spec.split(",")
    return [each.answer for each in said]


@pytest.mark.parametrize(
    ("spec", "variant", "said"),
    [
        ("safety,fallback,precision,conformance", "maple-v2", ["met"] * 4),
        ("safety,fallback,precision,conformance", "none", ["met", "met", "unmet", "unmet"]),
        ("safety,fallback,precision,conformance", "behaviour", ["met", *["unmet"] * 3]),
        ("precision<=1,precision<1,precision=1,precision<=1.0", "maple-v2", [
            "met", "unmet", "met", "met"]),
        ("precision<=1.99,precision<=2,precision<2.01,precision=2", "none", [
            "unmet", "met", "met", "met"]),
        ("full_unmaps=0,full_unmaps<=1,full_unmaps<1", "none", ["unmet", "met", "unmet"]),
        ("full_unmaps=0,full_unmaps<1", "maple-v2", ["met", "met"]),
    ],
)  # fmt: skip
def test_what_is_so_and_what_is_not(spec: str, variant: str, said: list[str]) -> None:
    events = four_pages("none" if variant == "none" else "maple-v2").events
    assert answer(spec, events, variant) == said


def test_a_violation_is_told_as_such() -> None:
    wrong = without(four_pages().events, of_kind("unmap_begin", "unmap_end", nested_ipa=N))
    (said,) = answers(judged(wrong), parse("safety"))
    assert (said.answer, said.why) == ("unmet", "there is 1 violation")


def test_where_nothing_had_to_go() -> None:
    """What was unmapped was all too much; what was not, is no more than had to be."""
    kernel = booted("none")
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C + BLOCK, PAGE)
    assert answer("precision<=1000000", kernel.events, "none") == ["unmet"]
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C + BLOCK, PAGE)
    assert answer("precision<=1,precision", kernel.events) == ["met", "met"]


@pytest.mark.parametrize("spec", ["safety", "precision<=9", "full_unmaps=0", "conformance"])
def test_what_cannot_be_told_for_losses_is_unknown(spec: str) -> None:
    events = four_pages().events
    assert answer(spec, events) == ["met"]
    assert answer(spec, [*events, LOSS]) == ["unknown"]
    assert answer(spec, events, probes={"revmap_record": "f", "shadow_unmap": ""}) == ["unknown"]


def test_losses_do_not_excuse_what_was_seen() -> None:
    events = [*four_pages("none").events, LOSS]
    spec = "full_unmaps=0,full_unmaps<1,full_unmaps=1,full_unmaps=2,full_unmaps<=1"
    assert answer(spec, events, "none") == ["unmet", "unmet", *["unknown"] * 3]


def test_mappings_from_before_the_trace_leave_the_ratio_unknown_and_the_count_not() -> None:
    events = four_pages().events[3:]
    assert answer("safety,precision<=9,full_unmaps=0", events) == ["unknown", "unknown", "met"]


def test_without_a_notifier_there_is_nothing_to_tell() -> None:
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    said = answer("safety,conformance,full_unmaps=0,precision<=2", kernel.events)
    assert said == ["unmet", "met", "unknown", "unknown"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("", "'' is no requirement: there are safety, fallback,"),
        ("safety,", "'' is no requirement"),
        ("speed", "'speed' is no requirement"),
        ("safety<=1", "'safety' has no bound: only precision and full_unmaps have one"),
        ("honesty", "'honesty' is no requirement"),
        ("precision<=", "'' is no number"),
        ("precision<=nan", "'nan' is no number"),
        ("precision<=inf", "'inf' is no number"),
        ("precision<=-1", "'-1' is no number"),
        ("precision<=1e3", "'1e3' is no number"),
        ("precision>=1", "is no requirement"),
        ("full_unmaps", "'full_unmaps' is no requirement"),
        ("precision<=1.5;safety", "is no number"),
        ("\x1b[2J", "is no requirement"),
        ("over_unmap_ratio<=2", "has no bound"),
    ],
)
def test_a_bad_spec_is_one_line(spec: str, why: str) -> None:
    result = run("--require", spec, "nowhere.arrows")
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr
    assert result.stderr.startswith("Error: --require: ")
    assert result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr


@given(st.text(max_size=30))
@PROFILE
def test_any_text_is_a_spec_or_refused(text: str) -> None:
    try:
        parsed = parse(text)
    except SpecError:
        return
    subjects = (*JUDGED, findings.OVER_UNMAP, findings.FULL_UNMAPS)
    assert all(wanted.subject in subjects for wanted in parsed)
    assert len(answers(findings.Result(About(), ""), parsed)) == len(parsed)


# The command.


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(validate, [str(a) for a in args])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("maple.arrows").write_bytes(written(four_pages().events))
    Path("none.arrows").write_bytes(written(four_pages("none").events, variant="none"))
    Path("foreign.arrows").write_bytes(written(four_pages().events, revmap="later"))
    Path("lossy.arrows").write_bytes(written([*four_pages().events, LOSS]))
    return tmp_path


SPEC = "safety,precision<=1.5,full_unmaps=0"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["maple.arrows", "foreign.arrows"], 0),
        (["maple.arrows", "none.arrows"], 1),
        (["lossy.arrows"], 3),
        (["lossy.arrows", "none.arrows"], 1),
        (["nowhere.arrows", "lossy.arrows"], 2),
        (["--require", "conformance", "foreign.arrows"], 1),
        (["--require", "conformance", "maple.arrows"], 0),
    ],
)
def test_exit_codes(files: Path, names: list[str], code: int) -> None:
    assert run("--require", SPEC, *names).exit_code == code


def test_each_requirement_that_is_not_met_is_a_line(files: Path) -> None:
    result = run("--require", SPEC, "--require", "conformance", "none.arrows")
    assert result.stderr.splitlines() == [
        "nvscope: none.arrows: --require precision<=1.5: unmet, the over-unmap ratio is 2",
        "nvscope: none.arrows: --require full_unmaps=0: unmet, there was 1",
        "nvscope: none.arrows: --require conformance: unmet, it was not judged: this kernel has no"
        " reverse map: nothing is decided",
    ]
    assert "  required: safety: met\n" in result.stdout
    assert "  required: full_unmaps=0: unmet, there was 1\n" in result.stdout
    assert result.stdout.startswith("none.arrows: pass\n"), "of itself nothing is wrong"
    said = run("--require", "full_unmaps=0", "lossy.arrows").stderr
    assert said == (
        "nvscope: lossy.arrows: --require full_unmaps=0: unknown: events were lost (1)\n"
    )


def test_formats(files: Path) -> None:
    args = ("--require", SPEC, "none.arrows", "lossy.arrows")
    said = json.loads(run("--format", "json", *args).stdout)["files"]
    assert [[each["answer"] for each in file["requirements"]] for file in said] == [
        ["met", "unmet", "unmet"],
        ["unknown"] * 3,
    ]
    suites = ElementTree.fromstring(run("--format", "junit", *args).stdout)
    cases = [c for c in suites[0] if c.get("classname") == "nvscope.require"]
    assert [c.get("name") for c in cases] == SPEC.split(",")
    assert [c.find("failure") is not None for c in cases] == [False, True, True]
    assert suites[0].get("failures") == "2"
    skipped = [c for c in suites[1] if c.get("classname") == "nvscope.require"]
    assert all(c.find("skipped") is not None for c in skipped)
    (ran,) = json.loads(run("--format", "sarif", *args).stdout)["runs"]
    rules = ran["tool"]["driver"]["rules"]
    assert {rules[found["ruleIndex"]]["id"] for found in ran["results"]} == {"require"}
    assert [found["level"] for found in ran["results"]] == [*["error"] * 2, *["warning"] * 3]


def test_all_ways_of_judging(files: Path) -> None:
    """In processes, of a data set, from a pipe, while it is recorded: the same answers."""
    for name in ("maple", "none", "lossy"):
        trace = Path(f"{name}.arrows")
        partition(trace, Path("fleet"))
        stored = Path(f"fleet/boot=unknown/trace={name}")
        alone, *others = (
            run("--require", SPEC, *way)
            for way in ((trace,), ("-j", "2", trace), ("-j", "1", stored), ("--follow", trace))
        )
        told = [line.partition(": --require ")[2] for line in alone.stderr.splitlines()]
        assert bool(told) == (name != "maple")
        for other in others:
            assert other.exit_code == alone.exit_code
            assert [line.partition(": --require ")[2] for line in other.stderr.splitlines()] == told
