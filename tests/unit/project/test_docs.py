"""The documentation: links lead somewhere, commands parse, tables are those of the code."""

from __future__ import annotations

import doctest
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from nvscope.probes.commands import points_option as points
from nvscope.probes.config import options
from nvscope.probes.traces.events import COLUMNS
from tests.unit.command.examples import LEAVES, parse, words_of

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "docs/*.md",
        "*/README.md",
        "probes/*/README.md",
        "exporter/alerts/*.md",
        "analysis/*/*.md",
    )
    for path in ROOT.glob(pattern)
)
MAKE: dict[str, Any] = runpy.run_path(str(ROOT / "docs/make.py"))
# The last one of a line, wherever it is installed.
COMMAND = re.compile(r"(?:.*\s)?(?:\S+/bin/)?(nvscope (?=[a-z]).+)")


def links(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    inline = re.findall(r"\]\(([^)\s]+)\)", text)
    return inline + re.findall(r"^\[[^\]]+\]: (\S+)", text, re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def commands(page: str) -> list[str]:
    """The command lines of nvscope in its indented blocks."""
    lines = re.findall(r"^(?:    |- )(.*)$", (ROOT / page).read_text(), re.MULTILINE)
    said = (re.split(r"(?:^|\s)#", line)[0].rstrip() for line in lines)
    return [found[1] for line in said if (found := COMMAND.match(line))]


COMMANDS = [(page, line) for page in PAGES for line in commands(page)]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_parses(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of(line)
    path = " ".join(["nvscope", *words[:1]])
    path = path if path in LEAVES else " ".join(["nvscope", *words[:2]])
    assert path in LEAVES, f"{page}: {line}"
    for parameter in LEAVES[path].command.params:
        if isinstance(parameter.type, click.Path):  # its files need not be here
            monkeypatch.setattr(parameter.type, "exists", False)
    monkeypatch.setattr(options, "values", lambda *_: {})  # nor its configuration
    monkeypatch.setattr(points, "read", lambda _: None)  # nor names of functions
    with parse(words) as context:
        assert context.command is LEAVES[path].command


@pytest.mark.parametrize("name", list(MAKE["TABLES"]))
def test_tables_are_those_of_the_code(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    made: Callable[..., str] = MAKE["made"]
    assert text == made(text, MAKE["TABLES"][name]), "run .venv/bin/python docs/make.py"


def test_a_missing_mark_is_said() -> None:
    with pytest.raises(ValueError, match="kinds"):
        MAKE["made"]("no marks", {"kinds": lambda: ""})


def test_all_columns_of_traces_are_explained() -> None:
    text = (ROOT / "docs/traces.md").read_text()
    table = text.partition("### Columns")[2].partition("### Kinds")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert tuple(re.findall(r"`(\w+)`", " ".join(first))) == COLUMNS


EXAMPLES = [page for page in PAGES if ">>> " in (ROOT / page).read_text()]


@pytest.mark.parametrize("page", EXAMPLES)
def test_examples_in_python_are_true(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert (done.failed, done.attempted > 3) == (0, True)


def outputs(notebook: str) -> list[tuple[str, object]]:
    """Source and outputs of each code cell."""
    cells = json.loads(notebook)["cells"]
    return [("".join(each["source"]), each.get("outputs")) for each in cells]


def test_the_notebook_shows_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is what comes out now; a cell that fails ends the run."""
    monkeypatch.setenv("IPYTHONDIR", "")  # executed() sets it: it is put back
    text = (ROOT / "docs/notebook.ipynb").read_text()
    assert outputs(MAKE["executed"](text)) == outputs(text), "run .venv/bin/python docs/make.py"
    assert all(shown for source, shown in outputs(text) if shown is not None), (
        "a cell shows nothing"
    )


def test_links_of_the_notebook_lead_somewhere() -> None:
    text = "".join(source for source, _ in outputs((ROOT / "docs/notebook.ipynb").read_text()))
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    assert found
    assert all((ROOT / "docs" / link).exists() for link in found)


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


SUBPACKAGES = ("probes", "exporter", "analysis", "lab")


def rooms() -> set[str]:
    """The packages below the top folders: "probes/kernel"."""
    found = (path.parent for name in SUBPACKAGES for path in (ROOT / name).glob("*/__init__.py"))
    return {path.relative_to(ROOT).as_posix() for path in found}


def test_the_architecture_names_every_folder_and_no_other() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    table = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = [each.strip("`/") for cell in table for each in re.findall(r"`[^`]+`", cell)]
    named = [f"exporter/{name}" if name == "dashboards" else name for name in named]
    assert not [name for name in named if not (ROOT / name).exists()]
    assert rooms() <= set(named)


def test_the_picture_names_folders_that_are_there() -> None:
    picture = (ROOT / "docs/architecture.svg").read_text()
    shown = re.findall(r'class="t"[^>]*>(\w+)/<', picture)
    assert {name for name in shown if name != "lab"} <= {
        path.name for name in SUBPACKAGES for path in (ROOT / name).iterdir()
    }
    left_out = {"analysis/api", "analysis/verify", "exporter/dashboards"}  # in another's words
    of_lab = {room for room in rooms() if room.startswith("lab/")}
    assert {room.rpartition("/")[2] for room in rooms() - left_out - of_lab} <= set(shown)
