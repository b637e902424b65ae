"""What a file is, is told by its content; and all commands that read traces agree on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.analysis.interop.cli import convert
from nvscope.analysis.interop.content import format_of
from nvscope.analysis.report.cli import report
from nvscope.analysis.validate.cli import validate
from tests.unit.analysis.interop import recorded as texts

SAMPLE = Path("analysis/samples/revmap.arrows").resolve()


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    """A file of each format, by names that say nothing."""
    files = {name: tmp_path / f"{name}.data" for name in ("trace", "parquet", "ftrace", "perf")}
    shutil.copy(SAMPLE, files["trace"])
    CliRunner().invoke(convert, ["--to", "parquet", str(SAMPLE), str(files["parquet"])])
    files["ftrace"].write_text(texts.ftrace(texts.events()))
    files["perf"].write_text(texts.perf(texts.events()))
    return files


@pytest.mark.parametrize("name", ["trace", "parquet", "ftrace", "perf"])
def test_by_content(name: str, made: dict[str, Path]) -> None:
    assert format_of(made[name]) == name
    for ending in (".arrows", ".parquet", ".perf", ".txt"):
        assert format_of(made[name].rename(made[name].with_suffix(ending))) == name
        made[name].with_suffix(ending).rename(made[name])


@pytest.mark.parametrize("name", ["trace", "parquet", "ftrace", "perf"])
def test_validate_and_report_open_the_same(name: str, made: dict[str, Path]) -> None:
    judged = CliRunner().invoke(validate, [str(made[name])])
    assert judged.exit_code in (0, 3)
    assert f"{made[name]}: " in judged.stdout
    page = CliRunner().invoke(report, [str(made[name])])
    assert page.exit_code == 0


def test_what_was_left_out_of_a_text_is_said(made: dict[str, Path]) -> None:
    text = "".join(line for line in made["ftrace"].open() if not line.startswith("# nvscope"))
    made["ftrace"].write_text(text + "what is this\n")
    said = CliRunner().invoke(validate, [str(made["ftrace"])]).stdout
    assert "note: no header of a recipe" in said
    assert "note: 1 lines were not understood, the first: 'what is this'" in said
    spread = CliRunner().invoke(validate, ["-j2", str(made["ftrace"])]).stdout
    assert spread == said


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        (b"", "a.arrows", "trace"),
        (b"", "a.perf", "perf"),
        (b"# tracer: nop\n", "a.txt", "ftrace"),
        (b"\x00\xff" * 200_000, "a.ftrace", "ftrace"),
        (b"\n" * 200_000, "a", "trace"),
        (b"x" * (1 << 19), "a.parquet", "parquet"),
    ],
)
def test_where_it_does_not_tell_the_name_does(
    data: bytes, name: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    assert format_of(tmp_path / name) == told
