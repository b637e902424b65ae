"""The configuration file: what it gives, and where it is said to be wrong."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from nvscope.exporter.cli import export
from nvscope.probes.pins import cli
from nvscope.probes.points.pointsfile.read import read

GOOD = """
# for both
[probes]
mechanism = ["kprobe"]
symbol = {s2_fault = "gmem_abort"}
points = "lab-maple"
strict = true
max-vms = 7

[export]
listen = "[::1]:9811"
pinned = "/run/pins"
max-series-vms = 3
"""


def check(command: click.Command, path: Path, *options: str) -> Result:
    return CliRunner().invoke(command, ["--config", str(path), "--check-config", *options])


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "nvscope.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("command", [export, cli.load])
def test_a_good_file(tmp_path: Path, command: click.Command) -> None:
    path = written(tmp_path, GOOD)
    done = check(command, path)
    assert (done.exit_code, done.output) == (0, f"{path} is good\n")


def test_what_options_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's values, but for those on the command line."""
    seen: dict[str, object] = {}

    @click.command(params=export.params)
    @click.pass_context
    def command(_: click.Context, **values: object) -> None:
        seen.update(values)

    path = written(tmp_path, GOOD)
    done = CliRunner().invoke(command, ["--max-vms", "9", "--config", str(path)])
    assert done.exit_code == 0, done.output
    assert seen == {
        "config": path,
        "check_config": False,
        "mechanisms": ("kprobe",),
        "symbols": {"s2_fault": "gmem_abort"},
        "points_file": read("lab-maple"),
        "strict": True,
        "max_vms": 9,
        "listen": ("::1", 9811),
        "pinned": Path("/run/pins"),
        "max_series_vms": 3,
        "web_config": None,
    }


DEEP = "[probes]\nmechanism = " + "[" * 100_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[probes]\nstrict = tru\n", "nvscope.toml: Invalid value (at line 2, column 10)"),
        (
            "[probes]\n\nstrikt = true\n",
            "line 3: no strikt in [probes]; there are group, max-vms, mechan",
        ),
        ("[metrics]\n", "line 1: no table [metrics]; there are [probes], [export]"),
        ("probes = 1\n", "line 1: probes is a table: [probes]"),
        ("[probes]\nstrict = 1\n", "line 2: strict: 1 is not true or false"),
        ("[probes]\nmax-vms = true\n", "line 2: max-vms: true is not a whole number"),
        ("[probes]\nmax-vms = 0\n", "line 2: max-vms: 0 is not in the range"),
        ("[probes]\nmechanism = 'kprobe'\n", "line 2: mechanism: 'kprobe' is not a list of str"),
        ("[probes]\nmechanism = ['magic']\n", "line 2: mechanism: 'magic' is not one of"),
        ("[probes]\nsymbol.fault = 'f'\n", "line 2: symbol: there is no probe point fault"),
        ("[probes]\npoints = 1\n", "line 2: points: 1 is not a string"),
        ("[export]\n[probes]\nmax-vms=1\n[export.x]\n", "line 4: no x in [export]"),
        ("[export]\nlisten = 'here'\n", "line 2: listen: 'here' is no HOST:PORT"),
        ("[export]\nlisten = 9810\n", "line 2: listen: 9810 is not a string"),
        (b"[probes]\n# \xff\n", "line 2: not UTF-8"),
        (DEEP, "nested too deep, or a number too long"),
        ("[probes]\nmax-vms = " + "9" * 5000, "nested too deep, or a number too long"),
        (b"#" * (1 << 20) + b"#", "is no configuration: it is longer than 1,048,576 bytes"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    done = check(export, written(tmp_path, text))
    assert done.exit_code == 2, done.output
    (line,) = done.output.strip().splitlines()
    assert words in line
    assert str(tmp_path) in line


def test_what_cannot_be_read(tmp_path: Path) -> None:
    done = check(export, tmp_path / "none.toml")
    assert done.exit_code == 3
    assert done.output == f"Error: cannot read {tmp_path}/none.toml: No such file or directory\n"


def test_nothing_to_check() -> None:
    done = CliRunner().invoke(export, ["--check-config"])
    assert done.exit_code == 2
    assert "--check-config needs --config FILE" in done.output
