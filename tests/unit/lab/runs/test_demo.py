"""The demo's order of steps: Debian's kernel while the lab's is built, then that, then both."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Self

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from nvscope.cli import main
from nvscope.lab import assets
from nvscope.lab.assets import Assets
from nvscope.lab.commands import cli
from nvscope.lab.host.machine import Machine
from nvscope.lab.runs import demo as demos
from nvscope.lab.runs import view
from nvscope.lab.runs.watch import Span
from nvscope.probes.errors import LackError

NOWHERE = Path("/nowhere")
STOCK_ROW = view.ViewRow("demo", 3, 3, 0, 1, 71, 2.1, 4.2)
LAB_ROW = view.ViewRow("demo", 55, 0, 55, 1, 120, 0.000247, 0.003)


class FakeBuild:
    """A build of which a test says how far it is."""

    log = Path("/cache/lab-build.log")

    def __init__(self, happened: list[str], why: str | None = None) -> None:
        self.happened, self.why, self.at_work = happened, why, True

    def running(self) -> bool:
        return self.at_work

    def failure(self) -> str | None:
        return None if self.at_work else self.why

    def progress(self) -> str:
        return "1 min, 34 %"

    def result(self) -> None:
        self.happened.append("build awaited")
        if self.why:
            raise LackError(self.why)

    def begin(self) -> None:
        self.happened.append("build begun")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.happened.append("build ended")


class Stage:
    """The demo with its parts replaced; `happened` has them in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.happened: list[str] = []
        self.build = FakeBuild(self.happened)
        self.interrupted_on = ""
        self.parts: list[demos.Part] = []
        self.out = StringIO()
        console = Console(file=self.out, width=80, highlight=False)
        monkeypatch.setattr(demos, "console", console)
        monkeypatch.setattr(demos, "may_build", lambda: None)
        monkeypatch.setattr(demos, "prepare", self._prepare)
        monkeypatch.setattr(demos, "Build", lambda: self.build)
        monkeypatch.setattr(demos, "_show", self._show)

    def _prepare(self, kernel: str) -> Assets:
        self.happened.append(f"{kernel} prepared")
        release = "7.3.4+deb13-arm64" if kernel == "stock" else kernel
        return Assets(release, Machine(NOWHERE), NOWHERE, NOWHERE)

    def _show(
        self, part: demos.Part, _span: Span, counting: Callable[[], None] = lambda: None
    ) -> tuple[list[view.ViewRow], bool]:
        kernel = part.assets.kernel
        self.happened.append(f"{kernel} shown")
        counting()
        self.parts.append(part)
        rows = [LAB_ROW if kernel == "lab" else STOCK_ROW]
        return rows, kernel == self.interrupted_on


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


STOCK = "7.3.4+deb13-arm64"


def test_the_build_begins_when_the_first_metrics_are_served(stage: Stage) -> None:
    assert demos.demo_beside_build(60, keep=False)
    assert stage.happened == [
        "stock prepared", f"{STOCK} shown", "build begun", "build awaited", "build ended",
        "lab prepared", "lab shown",
    ]  # fmt: skip


def test_both_run_the_same_guest(stage: Stage) -> None:
    demos.demo_beside_build(60, keep=False)
    stock, lab = stage.parts
    assert stock.guest == lab.guest == "synthetic"
    # One CPU is the build's, and a part of the other.
    assert (stock.cpus, lab.cpus) == (1, 2)
    assert stock.pace > lab.pace


def test_both_summaries_are_shown_side_by_side(stage: Stage) -> None:
    demos.demo_beside_build(60, keep=False)
    lines = [line.split() for line in stage.out.getvalue().splitlines()]
    assert ["Debian's", "7.3.4", "lab", "kernel"] in lines
    assert ["full", "shadow", "unmaps", "3", "0"] in lines
    assert ["ranged", "shadow", "unmaps", "0", "55"] in lines
    assert ["median", "notifier", "unmap", "2.1", "s", "247", "us"] in lines


def test_where_the_build_fails_the_lab_kernel_is_not_tried(stage: Stage) -> None:
    stage.build.why = "the lab kernel's build failed: no disk"
    with pytest.raises(LackError, match="no disk"):
        demos.demo_beside_build(60, keep=False)
    assert stage.happened[1:] == [
        f"{STOCK} shown", "build begun", "build awaited", "build ended"
    ]  # fmt: skip


def test_ctrl_c_in_the_first_view_ends_the_build_and_all(stage: Stage) -> None:
    stage.interrupted_on = STOCK
    with pytest.raises(KeyboardInterrupt):
        demos.demo_beside_build(60, keep=False)
    assert stage.happened[1:] == [f"{STOCK} shown", "build begun", "build ended"]


def test_ctrl_c_in_the_second_view_ends_that_view(stage: Stage) -> None:
    stage.interrupted_on = "lab"
    assert demos.demo_beside_build(60, keep=False)
    assert "Debian's 7.3.4" in stage.out.getvalue()


def test_without_the_rights_to_build_nothing_is_begun(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(assets.host, "missing_packages", lambda *_: ["bison"])
    monkeypatch.setattr(demos, "prepare", stage._prepare)
    with pytest.raises(LackError, match="bison"):
        demos.demo_beside_build(60, keep=False)
    assert stage.happened == []


# ---- the first view's end


def test_it_lasts_until_the_build_is_done() -> None:
    build = FakeBuild([])
    span = demos._until_built(build, 60)  # type: ignore[arg-type]
    assert not span.over(1e6)
    assert span.note() == "building the lab kernel: 1 min, 34 %"
    build.at_work = False
    assert span.over(31)


def test_a_build_that_takes_no_time_leaves_some_unmaps_to_be_seen() -> None:
    build = FakeBuild([])
    build.at_work = False
    assert not demos._until_built(build, 60).over(29)  # type: ignore[arg-type]
    assert demos._until_built(build, 5).over(6)  # type: ignore[arg-type]


def test_where_the_build_fails_it_has_its_seconds() -> None:
    build = FakeBuild([], "the lab kernel's build failed: no disk")
    span = demos._until_built(build, 60)  # type: ignore[arg-type]
    build.at_work = False
    assert not span.over(59)
    assert span.note() == "the lab kernel's build failed: no disk"
    assert span.over(60)


# ---- which demo it is


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    called: list[str] = []

    def take(name: str) -> Callable[..., bool]:
        return lambda *_: not called.append(name)

    monkeypatch.setattr(cli.demos, "demo", take("one kernel"))
    monkeypatch.setattr(cli.demos, "demo_beside_build", take("beside build"))

    def run(*options: str, built: bool) -> list[str]:
        called.clear()
        monkeypatch.setattr(assets, "is_built", lambda: built)
        result: Result = CliRunner().invoke(main, ["lab", "demo", *options])
        assert result.exit_code == 0, result.output
        return called

    return run


def test_what_is_built_is_shown_at_once(demo: Callable[..., list[str]]) -> None:
    assert demo(built=True) == ["one kernel"]
    assert demo("--keep", "--seconds", "5", built=True) == ["one kernel"]


def test_what_is_not_built_is_built_beside(demo: Callable[..., list[str]]) -> None:
    assert demo(built=False) == ["beside build"]
    assert demo("--keep", "--seconds", "5", built=False) == ["beside build"]


@pytest.mark.parametrize(
    "choice", [("--kernel", "lab"), ("--kernel", "stock"), ("--revmap", "on"), ("--guest", "linux")]
)
def test_what_the_user_chooses_is_shown_alone(
    demo: Callable[..., list[str]], choice: tuple[str, ...]
) -> None:
    assert demo(*choice, built=False) == ["one kernel"]


# ---- whether it is built


@pytest.mark.parametrize("lacks", ["tools", "source", "kernel", ""])
def test_the_kernel_is_built_where_all_of_its_key_is_there(
    monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    missing = ["bison"] if lacks == "tools" else []
    monkeypatch.setattr(assets.host, "missing_packages", lambda *_: missing)
    monkeypatch.setattr(assets.source, "is_cached", lambda: lacks != "source")
    monkeypatch.setattr(
        assets.source, "fetched", lambda: assets.source.SourceTree(NOWHERE, "7.3.4")
    )
    monkeypatch.setattr(assets.build, "is_cached", lambda _: lacks != "kernel")
    assert assets.is_built() == (lacks == "")
