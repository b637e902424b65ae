"""A series of kernels: its words, its plan, its folder, and that no step is done twice."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from nvscope.cli import main
from nvscope.lab.host.remote import GuestError
from nvscope.lab.series.checks import checks
from nvscope.lab.series.checks import facts as kernels
from nvscope.lab.series.checks.checks import Check, Trial
from nvscope.lab.series.checks.outcome import (
    FAILED,
    NOT_TRIED,
    PASSED,
    Item,
    Step,
    as_json,
    step_of,
)
from nvscope.lab.series.execution import run
from nvscope.lab.series.execution.plan import HOST, Plan, joined, plan, plan_of
from nvscope.lab.series.execution.run import Run
from nvscope.lab.series.execution.store import Store
from nvscope.lab.series.subjects.candidate import Candidate, parse
from nvscope.lab.workloads.cases.bugs import bugs_of
from nvscope.lab.workloads.cases.cases import CASES
from nvscope.probes.errors import InputError, LackError
from tests.unit.lab.series.story import WORDS, facts, told

# ---- words


def test_what_a_subject_is_booted_with() -> None:
    assert parse("stock").machine == {"revmap": True, "append": ""}
    off = parse("lab:revmap=off")
    assert (off.name, off.kernel.kernel, off.machine["revmap"]) == ("lab:revmap=off", "lab", False)
    for name, bug in bugs_of("maple").items():
        made = parse(f"lab:revmap=on:bug={name}")
        assert made.machine["append"] == f"kvm-arm.nested_revmap_bug={bug.number}"
    for name, bug in bugs_of("tracking").items():
        made = parse(f"tracking:bug={name}")
        assert made.machine["append"] == f"kvm-arm.guest_s2_bug={bug.number}"


def test_source_trees_and_images(tmp_path: Path) -> None:
    assert parse(str(tmp_path)).kernel.source == tmp_path
    assert parse(f"{tmp_path}:revmap=off").kernel.source == tmp_path
    assert not parse(str(tmp_path)).own
    (tmp_path / "Image").touch()
    (tmp_path / "a.patch").touch()
    (tmp_path / "linux.tar.xz").touch()
    assert parse(f"{tmp_path}/Image:revmap=off").kernel.image == tmp_path / "Image"
    assert parse(f"{tmp_path}/linux.tar.xz").kernel.source == tmp_path / "linux.tar.xz"
    patched = parse(f"lab:patch={tmp_path}/a.patch:revmap=off:patch={tmp_path}/Image")
    assert patched.kernel.patches == (tmp_path / "a.patch", tmp_path / "Image")
    assert patched.own and not patched.revmap
    with pytest.raises(InputError, match="nothing to build"):
        parse(f"{tmp_path}/Image:patch={tmp_path}/a.patch")


def git(tree: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    done = subprocess.run(
        ["git", *who, "-C", tree, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_commits_of_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked out beside the tree, which stays as it is; what is the same keeps its time."""
    monkeypatch.setenv("NVSCOPE_CACHE", str(tmp_path / "cache"))
    tree = tmp_path / "linux"
    tree.mkdir()
    git(tree, "init", "--quiet")
    for content in ("1", "2"):
        (tree / "Kconfig").write_text(content)
        (tree / "Makefile").write_text("all:")
        git(tree, "add", ".")
        git(tree, "commit", "--quiet", "-m", content)
    (tree / "Kconfig").write_text("3")
    before, after = parse(f"{tree}@HEAD~1"), parse(f"{tree}@HEAD:revmap=off")
    assert before.commit and after.commit and not before.own
    folder = before.commit.check_out()
    assert (folder / "Kconfig").read_text() == "1"
    time_ns = (folder / "Makefile").stat().st_mtime_ns
    (folder / "left.o").touch()
    assert after.commit.check_out() == folder
    assert (folder / "Kconfig").read_text() == "2"
    assert (folder / "Makefile").stat().st_mtime_ns == time_ns
    assert not (folder / "left.o").exists()
    assert (tree / "Kconfig").read_text() == "3"
    with pytest.raises(InputError, match="no such commit"):
        parse(f"{tree}@nonesuch")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nonesuch", "'nonesuch' is none of lab, debug"),
        ("lab:revmap=maybe", "revmap= is on or off"),
        ("lab:bug=nonesuch", "lab has no such mistake; it has lost-record, "),
        ("tracking:bug=lost-record", "it has not-added, "),
        ("lab:bug=lost-record:bug=first-mmu", "bug= is there twice"),
        ("stock:revmap=off", "have no reverse map to turn"),
        ("stock:bug=lost-record", "bug= is for the lab's own"),
        ("stock:patch=/dev/null", "no such file"),
        ("lab:nonesuch=1", "'lab:nonesuch=1' is none of lab, debug"),
        ("lab\x1b[2J", "none of lab"),
    ],
)
def test_wrong_words_are_told_in_a_line(word: str, said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["lab", "series", "lab", word, "--out", str(tmp_path / "o")])
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.isprintable() is False
    assert not (tmp_path / "o").exists()


# ---- the plan


def test_a_plan_has_every_check_of_every_subject() -> None:
    found = plan(WORDS)
    names = [HOST, *checks.CHECKS]
    assert found.steps() == [(n, name) for n in range(3) for name in names]
    assert found.sizes.seeds == (1, 2, 3, 4)
    few = plan(WORDS, only=["cost", "cases"], quick=True, seeds=1)
    assert few.checks == ("cases", "cost")  # in the order of the table
    assert few.sizes.seeds == (1,)
    one = plan(WORDS, only=["cases"], cases=["two-mmus"]).sizes
    assert one.cases(kernels.of_json(facts("k", "none"))) == {"two-mmus"}
    assert 60 < few.seconds(few.steps(), {}) < found.seconds(found.steps(), {})


def test_a_plan_comes_back_from_its_words() -> None:
    asked = plan(WORDS, ["cases"], True, 3, ["pollution"])
    assert plan_of(json.loads(json.dumps(asked.asked()))) == asked
    with pytest.raises(InputError, match="another version"):
        plan_of({**asked.asked(), "format": 99})
    with pytest.raises(InputError, match="cannot be read"):
        plan_of({"format": 1})


@pytest.mark.parametrize("words", [[], ["lab"], ["lab", "stock", "lab"]])
def test_a_series_is_two_kernels_at_least(words: list[str]) -> None:
    with pytest.raises(InputError):
        plan(words)


def test_on_a_slow_kernel_there_is_less_of_each() -> None:
    slow, fast = (kernels.of_json(facts("k", revmap)) for revmap in ("none", "on"))
    sizes = plan(WORDS, quick=True).sizes
    assert sizes.cases(fast) == set(CASES)
    assert 0 < len(sizes.cases(slow)) < len(CASES)
    assert sizes.full_unmaps(slow) < sizes.full_unmaps(fast)
    assert sizes.samples(slow) < sizes.samples(fast)
    assert plan(WORDS).sizes.cases(slow) == set(CASES)
    assert "20 s" in sizes.why(slow)


# ---- what is kept


def test_a_step_comes_back_as_it_was() -> None:
    _, done = told()
    for step in done.values():
        assert step_of(json.loads(json.dumps(as_json(step)))) == step


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "out")


def test_a_result_is_there_whole_or_not_at_all(store: Store) -> None:
    asked, done = told()
    with store.open(asked.asked(), resume=False):
        store.put(1, done[1, "cases"])
        half = store.folder / "steps/1-cost.json.partial"
        half.write_text('{"check": "cost"')  # killed while it wrote
        assert store.get(1, "cost") is None
        assert store.get(1, "cases") == done[1, "cases"]
    (store.folder / "steps/1-cost.json").write_text('{"check": "cost"}')
    with pytest.raises(InputError, match="remove it"):
        store.get(1, "cost")


def test_results_of_another_series_are_not_taken(store: Store) -> None:
    asked = plan(WORDS).asked()
    with (
        store.open(asked, resume=False),
        pytest.raises(LackError, match="another series is at work"),
        Store(store.folder).open(asked, resume=True),
    ):
        pass
    with pytest.raises(InputError, match="--resume goes on"), store.open(asked, resume=False):
        pass
    with (
        pytest.raises(InputError, match="another series"),
        store.open(plan(WORDS, quick=True).asked(), resume=True),
    ):
        pass
    other = plan(["lab", "stock"]).asked()
    with (
        pytest.raises(InputError, match=r"another series.*stock lab"),
        store.open(other, resume=True),
    ):
        pass
    with store.open(asked, resume=True):
        pass


# ---- what is done


class FakeHosts:
    """Hosts.get() gives a word for a host, unless it is to fail."""

    booted: ClassVar[list[str]] = []

    def __init__(self, candidate: Candidate, _ready: object) -> None:
        self._name = candidate.name

    def get(self, *, icount: bool) -> Any:
        self.booted.append(f"{self._name}{' icount' if icount else ''}")
        if "first-mmu" in self._name:
            raise GuestError("the guest ended while it booted; its console:\nKernel panic - oh")
        if "debug" in self._name:
            raise GuestError("the guest was not ready in 300 s")
        return self

    def warnings(self) -> list[str]:
        return []

    def end(self) -> None: ...

    def no_linux(self) -> str:
        return ""

    def image(self) -> str:
        return "00ff"

    def __enter__(self) -> FakeHosts:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checks that were run, as "subject check"; nothing is booted."""
    ran: list[str] = []

    def check(name: str) -> Callable[[Trial], Step]:
        def play(trial: Trial) -> Step:
            ran.append(f"{trial.host._name} {name}")
            return Step(name, (Item(name, PASSED),))

        return play

    for name, each in checks.CHECKS.items():
        monkeypatch.setitem(checks.CHECKS, name, Check(name, each.title, check(name), each.icount))
    monkeypatch.setattr(run, "Hosts", FakeHosts)
    monkeypatch.setattr(FakeHosts, "booted", [])
    monkeypatch.setattr(Candidate, "prepare", lambda *_, **__: "ready")
    read = kernels.of_json(facts("7.3.4", "on") | {"image": ""})
    monkeypatch.setattr(kernels, "read", lambda *_, **__: read)
    return ran


def go(asked: Plan, store: Store, *, resume: bool = False) -> Run:
    with store.open(asked.asked(), resume=resume):
        found = Run(asked, store)
        found.all()
        return found


def test_what_was_interrupted_goes_on_where_it_was(
    tried: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plan(["lab", "lab:revmap=off"], ["cases", "random", "cost"])

    def interrupted(_: Trial) -> Step:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(checks.CHECKS, "random", Check("random", "", interrupted))
        with pytest.raises(KeyboardInterrupt):
            go(asked, store)
    assert tried == ["lab cases"]
    found = go(asked, store, resume=True)
    assert tried == [
        "lab cases",
        *("lab random", "lab cost"),
        *(f"lab:revmap=off {name}" for name in asked.checks),
    ]
    assert set(found.done) == set(asked.steps())
    go(asked, store, resume=True)
    assert len(tried) == 6


def test_what_was_interrupted_has_a_report(
    tried: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Trial) -> Step:
        raise KeyboardInterrupt

    monkeypatch.setitem(checks.CHECKS, "cost", Check("cost", "", interrupted, True))
    out = tmp_path / "out"
    words = ["--only", "cases", "--only", "cost", "lab", "lab:revmap=off"]
    done = CliRunner().invoke(main, ["lab", "series", "--out", str(out), *words])
    assert done.exit_code == 130
    assert f"{out}/report.html has what is done: --resume goes on" in done.stderr
    data = json.loads((out / "report.json").read_text())
    assert data["left"] == 4  # of 6, the host and the cases of one are done
    assert tried == ["lab cases"]


def test_subjects_and_checks_can_be_added(tried: list[str], store: Store) -> None:
    go(plan(["lab", "lab:revmap=off"], ["cases"]), store)
    tried.clear()
    more = joined(plan_of(store.asked() or {}), plan(["lab", "lab:revmap=off", "stock"], ["cost"]))
    assert more.checks == ("cases", "cost")
    words = ["--resume", "--only", "cost", *(each.name for each in more.candidates)]
    done = CliRunner().invoke(main, ["lab", "series", "--out", str(store.folder), *words])
    assert (done.exit_code, done.stderr.count("error")) == (0, 0), done.output
    assert tried == ["lab cost", "lab:revmap=off cost", "stock cases", "stock cost"]
    assert plan_of(store.asked() or {}) == more
    fewer = plan(["lab", "lab:revmap=off"], ["cases", "cost"])
    with pytest.raises(InputError, match="another series"):
        go(fewer, store, resume=True)


def test_a_kernel_that_panics_is_wrong_and_one_that_is_silent_was_not_tried(
    tried: list[str], store: Store
) -> None:
    asked = plan(["lab", "lab:bug=first-mmu", "debug"], ["cases"])
    found = go(asked, store).done
    assert found[1, HOST].outcome == FAILED
    assert found[2, HOST].outcome == NOT_TRIED
    assert {found[n, "cases"].outcome for n in (1, 2)} == {NOT_TRIED}
    assert tried == ["lab cases"]
    # What could not be tried is tried again; a panic is a result.
    FakeHosts.booted.clear()
    go(asked, store, resume=True)
    assert FakeHosts.booted == ["debug"]


def test_a_kernel_that_cannot_be_built_was_not_tried(
    tried: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(candidate: Candidate, **_: object) -> str:
        if candidate.name == "debug":
            raise LackError("the kernel did not build: no compiler")
        return "ready"

    monkeypatch.setattr(Candidate, "prepare", no_compiler)
    asked = plan(["lab", "debug"], ["cases"])
    found = go(asked, store).done
    assert [found[1, name].items[0].why for name in (HOST, "cases")] == [
        "the kernel did not build: no compiler"
    ] * 2
    assert not (store.folder / "steps/1-cases.json").exists()


def test_results_of_another_kernel_are_not_gone_on_with(
    tried: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plan(["lab", "debug"], ["cases"])
    with store.open(asked.asked(), resume=False):
        store.put(0, Step(HOST, (Item(HOST, PASSED),), facts=facts("7.3.4", "on")))
    monkeypatch.setattr(FakeHosts, "image", lambda _: "beef")
    with pytest.raises(InputError, match="another kernel now"):
        go(asked, store, resume=True)
    assert not tried
