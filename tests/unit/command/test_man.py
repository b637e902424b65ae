"""`nvscope man`: pages that render without a warning, and say all that the helps say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import nvscope
from nvscope import roff
from nvscope.cli import SUBCOMMANDS, main
from nvscope.man import pages
from tests.unit.command.examples import ALL, EXAMPLES

PAGES = dict(pages(main, "nvscope"))
NAMES = {path.replace(" ", "-"): path for path in ALL}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("share") / "man/man1"
    done = CliRunner().invoke(main, ["man", str(made)])
    assert done.exit_code == 0
    assert done.output.split() == [str(made / f"{name}.1") for name in PAGES]
    return made


def rendered(page: Path) -> str:
    """The page as man(1) shows it, on lines that are never broken; it must not complain."""
    if not shutil.which("man"):
        pytest.skip("man-db is not installed")
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(page)],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "1000", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return re.sub(" +", " ", re.sub(".\b", "", done.stdout))


def test_a_page_for_each_command(folder: Path) -> None:
    assert {page.stem for page in folder.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_shows_all_that_the_help_says(name: str, folder: Path) -> None:
    shown, context = rendered(folder / f"{name}.1"), ALL[NAMES[name]]
    headings = re.findall(r"^([A-Z]+(?: [A-Z]+)*)$", shown, re.MULTILINE)
    leaf = name in (path.replace(" ", "-") for path in EXAMPLES)
    optional = {"SEE ALSO", "COMMANDS"}
    wanted = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"]
    assert [each for each in headings if each not in optional] == wanted + ["EXAMPLES"] * leaf
    for parameter in context.command.get_params(context):
        if isinstance(parameter, click.Option):
            for switch in (*parameter.opts, *parameter.secondary_opts):
                assert re.search(rf"^ .*(?<![\w-]){switch}(?![\w-])", shown, re.MULTILINE), switch
    for line in EXAMPLES.get(NAMES[name], ()):
        assert re.sub(" +", " ", line) in shown
    for paragraph in (context.command.help or "").split("\n\n"):
        if not re.match(r"\s*(\x08|Exit code|Examples?:)", paragraph):
            assert " ".join(paragraph.split()) in shown


@pytest.mark.parametrize("name", NAMES)
def test_mandoc_has_nothing_to_say(name: str, folder: Path) -> None:
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-Tlint", str(folder / f"{name}.1")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == ""


def test_the_same_pages_each_time(folder: Path) -> None:
    assert {page.stem: page.read_text() for page in folder.iterdir()} == PAGES
    (head, *_) = PAGES["nvscope"].splitlines()
    version, date = nvscope.__version__, nvscope.__date__
    assert head == f'.TH "NVSCOPE" "1" "{date}" "nvscope {version}" "User Commands"'


def test_pages_name_only_pages_that_there_are() -> None:
    for page in PAGES.values():
        for name in re.findall(r"\\fB([^\\]*(?:\\-[^\\]*)*)\\fR\(1\)", page):
            assert name.replace(r"\-", "-") in PAGES


def test_what_is_special_to_roff_is_shown(tmp_path: Path) -> None:
    nasty = ".TH 'x' \\fB\\n \"q\" --a ~^` ..\n'so'"
    page = tmp_path / "x.1"
    lines = [*roff.section("NAME", ["x"]), *map(roff.escape, nasty.splitlines())]
    page.write_text("\n".join([roff.macro("TH", "X", "1", "2026-11-26"), *lines]))
    assert " ".join(nasty.split()) in " ".join(rendered(page).split())


def test_what_cannot_be_used_here_has_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_jinja.py").write_text("import jinja2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setitem(SUBCOMMANDS, "page", "needs_jinja:page")
    assert dict(pages(main, "nvscope")).keys() == PAGES.keys()


def test_a_folder_that_cannot_be_written_to() -> None:
    done = CliRunner().invoke(main, ["man", "/dev/null/man1"])
    assert done.exit_code == 2
    assert done.stderr == "Error: cannot write to /dev/null/man1: Not a directory\n"
