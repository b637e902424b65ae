"""`nvscope compare`: what it prints, how it ends, and what it makes of files that are no runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.compare import runs
from nvscope.cli import main
from nvscope.probes.counts.snapshot import SLOTS
from tests.unit.analysis.compare.runs import document, durations, write
from tests.unit.analysis.profiles import PROFILE


def spread(mu: float, calls: int) -> Any:
    return durations(np.random.default_rng(0).lognormal(mu, 0.5, calls))


SLOW, FAST = spread(18, 1000), spread(12, 1000)


@pytest.fixture
def off(tmp_path: Path) -> Path:
    return write(tmp_path / "off.json", {"alpha": SLOW, "beta": SLOW})


@pytest.fixture
def on(tmp_path: Path) -> Path:
    return write(tmp_path / "on.json", {"beta": SLOW, "alpha": FAST})


def invoke(*words: object) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, ["compare", *map(str, words)])


def one_line(result: Result) -> str:
    assert result.exit_code == 2, result.output
    (line,) = result.output.strip().splitlines()
    assert line.startswith("Error: ")
    return line


def test_the_table_fits_80_columns_and_has_all_groups(off: Path, on: Path) -> None:
    result = invoke(off, on)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.strip() for line in lines if line.strip() in ("vm=alpha", "vm=beta", "total")] == [
        "vm=alpha",
        "vm=beta",
        "total",
    ]
    assert [line.split()[0] for line in lines if line.startswith(" mean")] == ["mean"] * 3
    (mean, *_) = [line for line in lines if line.startswith(" mean")]
    assert "72.2 ms" in mean
    assert "179 µs" in mean


def test_json_says_the_same(off: Path, on: Path) -> None:
    found = json.loads(invoke(off, on, "--json").stdout)
    assert [group["labels"] for group in found["groups"]] == [{"vm": "alpha"}, {"vm": "beta"}, {}]
    mean = found["groups"][0]["metrics"]["mean"]
    assert mean["a"]["value"] == SLOW.sum_ns / 1000
    assert mean["ratio"]["value"] == FAST.sum_ns / SLOW.sum_ns
    assert mean["ratio"]["low"] < math.exp(-6) < mean["ratio"]["high"]
    assert found["groups"][0]["metrics"]["p99.9"]["b"]["high"] is None  # of 1000 calls: no bound
    assert (found["confidence"], found["seed"], found["failed"]) == (0.95, 0, False)


def test_merged_there_is_the_total_only(off: Path, on: Path) -> None:
    found = json.loads(invoke(off, on, "--merge", "--json").stdout)
    (total,) = found["groups"]
    assert total["labels"] == {}
    assert total["metrics"]["count"]["a"]["value"] == 2000


def test_one_group_is_its_own_total(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name, {"alpha": FAST}) for name in "ab")
    (group,) = json.loads(invoke(a, b, "--json").stdout)["groups"]
    assert group["labels"] == {"vm": "alpha"}


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        (["p99 > 1.1x"], 0),
        (["vm=alpha: mean < 0.1x"], 1),
        (["vm=beta: mean < 0.1x"], 0),
        (["vm=beta: mean < 0.1x", "vm=alpha: p50 < -1ms"], 1),
        (["p99 > 20ms"], 1),
        (["lost > 0"], 0),
        (["lost > 1x", "count > 1x", "count < 1x"], 0),
        (["vm=beta: p99 > 0.9x"], 0),  # in doubt
        (["vm=beta: p99 > 0.9x", "--by-estimate"], 1),
        (["vm=beta: p99 > 1.1x", "--by-estimate"], 0),
    ],
)
def test_conditions(off: Path, on: Path, conditions: list[str], code: int) -> None:
    words = [w for c in conditions for w in ([c] if c == "--by-estimate" else ["--fail-if", c])]
    result = invoke(off, on, *words)
    assert result.exit_code == code, result.output
    assert ("FAILED: " in result.stdout) == bool(code)
    found = json.loads(invoke(off, on, *words, "--json").stdout)
    assert found["failed"] == bool(code) == any(each["failed"] for each in found["conditions"])


def test_no_calls_prove_nothing_unless_by_estimate(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", {}), write(tmp_path / "b", {})
    assert invoke(a, b, "--fail-if", "p99 > 1.1x").exit_code == 0
    by_estimate = invoke(a, b, "--fail-if", "p99 > 1.1x", "--by-estimate")
    assert by_estimate.exit_code == 1
    assert "FAILED: p99 > 1.1x, total: - (0 … ∞), in doubt" in by_estimate.stdout
    assert f"{a}: no calls" in by_estimate.stderr


def test_groups_of_one_run_only_are_said(off: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "b.json", {"alpha": FAST, "new\x1b[2J": FAST})
    result = invoke(off, other)
    assert f"only in {off}, and in its total: vm=beta" in result.stderr
    assert f"only in {other}, and in its total: vm=new [2J" in result.stderr
    line = one_line(invoke(off, other, "--fail-if", "vm=beta: p99 > 1x"))
    assert "no group of both runs has vm=beta" in line


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lost": {"missed_exit": 3, "vm_full": 0}}, "3 events lost (missed_exit 3)"),
        ({"seconds": 60}, "b.json 60 s: compare rates, no counts"),
        ({"host": {"kernel": "7.3.4-nvscope", "arch": "aarch64", "revmap": "none"}}, "emulated"),
        ({"host": {"kernel": "7", "arch": "x86_64", "revmap": "none"}}, "the other x86_64"),
        ({"includes": "l1_walk"}, "b.json's include the walk of L1's stage 2"),
        ({"includes": "x\x1b[2J"}, "b.json's include x [2J and"),
    ],
)
def test_caveats(off: Path, tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    other = write(tmp_path / "b.json", {"alpha": SLOW, "beta": SLOW}, **changed)
    result = invoke(off, other, "--json")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("nvscope: ")
    assert said in line
    (warning,) = json.loads(result.stdout)["warnings"]
    assert line == f"nvscope: {warning}"


def test_few_calls_and_an_odd_sum_are_said(off: Path, tmp_path: Path) -> None:
    other = document({"alpha": spread(18, 50), "beta": SLOW})
    other["groups"][1]["sum_ns"] = 1
    path = tmp_path / "b.json"
    path.write_text(json.dumps(other))
    few, odd = invoke(off, path).stderr.splitlines()
    assert "fewer than 300 calls in 1 of 2 groups" in few
    assert "in 1 of 2 groups the sum does not fit the slots" in odd


def test_runs_of_different_probes_or_groups(off: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "b.json", {"alpha": FAST}, probe="s2_fault")
    assert "is of notifier_unmap and" in one_line(invoke(off, other))
    plain = document({"x": FAST}, by=[])
    plain["groups"][0]["labels"] = {}
    (tmp_path / "c.json").write_text(json.dumps(plain))
    assert "by vm and" in one_line(invoke(off, tmp_path / "c.json"))
    assert invoke(off, tmp_path / "c.json", "--merge").exit_code == 0


def test_too_few_resamples_for_the_confidence(off: Path, on: Path) -> None:
    result = invoke(off, on, "--confidence", "99.9", "--resamples", "1000")
    assert result.exit_code == 2
    assert "--confidence 99.9 needs --resamples 10000 at least" in result.stderr


def changed_group(**changed: Any) -> str:
    whole = document({"alpha": FAST})
    whole["groups"][0] |= changed
    return json.dumps(whole)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe{}", "no UTF-8 at byte 0"),
        (b"[" * 100_000, "nested too deep"),
        (b"1" * 5000, "no JSON"),
        (b'{"a": 1, "a": 2}', "a key twice"),
        (b'{"kind": NaN}', "no JSON: NaN"),
        (b"[]", "the file: no object"),
        (b'{"kind": "comparison"}', '"kind" is not "probe"'),
        (json.dumps(document({}, by="vm")), "by: no list"),
        (json.dumps(document({}, by=[1])), "by[0]: no text"),
        (json.dumps(document({}, seconds=0)), "seconds: no duration above 0"),
        (json.dumps(document({}, seconds=True)), "seconds: no duration above 0"),
        (json.dumps(document({}, seconds=10**400)), "seconds: no duration above 0"),
        (json.dumps(document({}, seconds=0.0)).replace("0.0", "1e999"), "seconds: no duration"),
        (json.dumps(document({}, lost={"x": -1})), "lost.x: no count"),
        (json.dumps(document({}, lost={"\x1b[2J\n" * 1000: -1})), "lost. [2J [2J"),
        (json.dumps(document({}, lost=None)), "lost: no object"),
        (json.dumps(document({}, host={"kernel": "k"})), "host.arch: no text"),
        (json.dumps(document({}, groups=[3])), "groups[0]: no object"),
        (json.dumps(document({}, groups=[*document({"a": FAST})["groups"]] * 2)), "same labels"),
        (changed_group(labels={}), "groups[0].labels: these are not"),
        (changed_group(labels={"vm": 1}), "groups[0].labels.vm: no text"),
        (changed_group(count=3), "groups[0].count: it is not the sum"),
        (changed_group(slots=[1]), "groups[0].slots: there are 1, not 40"),
        (changed_group(slots=[0.5] * SLOTS), "groups[0].slots[0]: no count"),
        (changed_group(sum_ns=2**64), "groups[0].sum_ns: no count"),
        (b" " * (runs.MAX_BYTES + 1), "no run of a probe has more than 8 MiB"),
    ],
)
def test_what_is_no_run(off: Path, tmp_path: Path, content: bytes | str, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    line = one_line(invoke(off, path))
    assert said in line
    assert str(path) in line
    assert len(line) < 500


def test_what_cannot_be_read(off: Path, tmp_path: Path) -> None:
    assert "No such file or directory" in one_line(invoke(off, tmp_path / "none.json"))
    assert "Is a directory" in one_line(invoke(tmp_path, off))


def test_the_largest_counts_that_there_can_be(tmp_path: Path) -> None:
    most = document({"a": FAST, "b": FAST, "c": FAST})
    for group in most["groups"]:
        slots = [2**64 - 40, *[1] * 38, 1]
        group.update(slots=slots, count=sum(slots), sum_ns=2**64 - 1)
    path = tmp_path / "most.json"
    path.write_text(json.dumps(most))
    assert invoke(path, path).exit_code == 0
    assert invoke(path, path, "--merge", "--json").exit_code == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@PROFILE
@given(data=st.data())
def test_any_change_is_a_run_or_a_value_error(data: st.DataObject) -> None:
    whole = document({"alpha": FAST})
    place = data.draw(st.sampled_from([whole, whole["host"], whole["groups"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
    try:
        found = runs.parse(json.dumps(whole).encode(), "x")
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert found.total().durations.count >= 0
