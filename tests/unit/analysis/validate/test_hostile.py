"""Traces that are well formed and make no sense: an answer or one line, and bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate.cli import validate
from nvscope.cli import main
from nvscope.probes.traces.events import DETAILS, KINDS, Event
from tests.unit.analysis.kernel import PAGE
from tests.unit.analysis.peak import peak
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, VM, booted, judged, written
from tests.unit.probes.traces.lies import LIES

few = st.sampled_from([0, 1, 0x1000, 0x2000, 1 << 21, 1 << 30, 1 << 51])
events = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: st.builds(
        Event,
        kind=st.just(kind),
        time_ns=st.integers(0, 50),
        tid=st.integers(0, 3),
        kvm=st.integers(0, 2),
        mmu=st.integers(0, 2),
        canonical_ipa=few,
        nested_ipa=few,
        size=st.sampled_from([PAGE, 1 << 21, 1 << 30]),
        detail=st.sampled_from(DETAILS.get(kind, ("",))),
        result=st.sampled_from([0, 0, -11]),
        full=st.booleans(),
        duration_ns=st.integers(0, 1 << 62),
    )
)


@given(st.lists(events, max_size=40), st.sampled_from(sorted(VARIANTS)))
@PROFILE
def test_events_in_any_order_get_an_answer(trace: list[Event], variant: str) -> None:
    """Times that step back, ends without begins, MMUs of nobody: never a crash."""
    assert judged(trace, variant).verdict in ("pass", "violation", "unknown")


def test_time_may_step_back_a_little() -> None:
    """Rows are in the order of the ring; the clocks of two CPUs may differ."""
    kernel = booted()
    kernel.fault(VM, M1, PAGE, PAGE, PAGE)
    kernel.notifier(VM, PAGE, PAGE)
    skewed = [
        Event(
            **{f: getattr(e, f) for f in Event.__slots__} | {"time_ns": e.time_ns - 150 * (i % 2)}
        )
        for i, e in enumerate(kernel.events)
    ]
    assert judged(skewed).verdict == "pass"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Event("remap"), "row 3: 'remap' is no event that this nvscope knows"),
        (Event("record", size=PAGE, detail="merged"), "row 3: record 'merged' is no event"),
        (Event("map", size=PAGE - 1), "row 3: no map can have this range"),
        (Event("map", size=0), "row 3: no map can have this range"),
        (Event("map", nested_ipa=1 << 63, size=PAGE), "no map can have this range"),
        (Event("record", size=3 * PAGE, detail="stored"), "no record can have this range"),
        (Event("record", canonical_ipa=1 << 62, size=PAGE, detail="stored"), "no record can have"),
        (Event("notifier_begin", size=0), "no notifier_begin can have this range"),
        (Event("notifier_end", size=(1 << 64) - 1), "no notifier_end can have this range"),
    ],
)
def test_rows_that_cannot_be(event: Event, words: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.arrows"
    path.write_bytes(written([*booted().events, event]))
    result = CliRunner().invoke(validate, [str(path)])
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_a_name_may_hold(tmp_path: Path) -> None:
    """Escape sequences and control characters do not reach the terminal, nor the XML."""
    kernel = booted()
    kernel.fault(VM, M1, PAGE, PAGE, PAGE)
    bad = Event("record", kvm=VM, mmu=M1, size=PAGE, detail="unchanged", vm="\x1b[2J\x00\n\u202e")
    path = tmp_path / "trace.arrows"
    path.write_bytes(written([*kernel.events, bad]))
    for form in ("text", "junit"):
        said = CliRunner().invoke(validate, ["--format", form, str(path)])
        assert said.exit_code == 1
        assert not {"\x1b", "\x00", "\u202e"} & set(said.stdout)


@pytest.mark.parametrize("name", [b"a\xff\x1b[2J\n.arrows", "ü<&.arrows".encode()])
def test_what_a_files_name_may_hold(name: bytes, tmp_path: Path) -> None:
    """Results are well formed, and terminals obey nothing, whatever the file is called."""
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))  # noqa: PTH118
    path.write_bytes(written(booted().events))
    for content in (path.read_bytes(), b"none"):
        path.write_bytes(content)
        said = {
            form: CliRunner().invoke(main, ["validate", "--format", form, str(path)])
            for form in ("text", "json", "junit", "sarif")
        }
        for form, done in said.items():
            assert done.exit_code == (3 if content != b"none" else 2)
            assert "\x1b" not in done.output + done.stderr
            assert done.stderr.count("\n") == (content == b"none")
            done.stdout.encode("utf-8")  # no surrogates
            if form == "junit":
                suites = ElementTree.fromstring(done.stdout.encode())
                assert suites[0].attrib["name"].startswith(str(tmp_path))
        (found,) = json.loads(said["json"].stdout)["files"]
        assert (
            found["file"].encode()
            == str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
        )
        (note,) = json.loads(said["sarif"].stdout)["runs"][0]["invocations"][0][
            "toolExecutionNotifications"
        ]
        uri = note["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert unquote_to_bytes(uri) == os.fsencode(path)
        assert uri.isascii() and uri.isprintable()


def test_the_output_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    path = tmp_path / "ü.arrows"
    path.write_bytes(written(booted().events))
    out = tmp_path / "out.xml"
    command = ["-m", "nvscope", "validate", "--format", "junit", "-o", str(out), str(path)]
    env = {**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run([sys.executable, *command], env=env, check=False, timeout=60)
    assert ran.returncode == 3
    (suite,) = ElementTree.fromstring(out.read_bytes())
    assert suite.attrib["name"].endswith(".arrows")


def test_memory_is_bounded_whatever_a_file_claims(tmp_path: Path) -> None:
    path = tmp_path / "trace.arrows"
    path.write_bytes(written(booted().events))
    usual, code, _ = peak(path)
    assert code == 3
    for lie, words in LIES:
        path.write_bytes(lie())
        kib, code, said = peak(path)
        assert code == 2, said
        assert words in said
        assert said.count("\n") == 1
        assert kib < usual + (32 << 10)
