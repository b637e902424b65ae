"""--web-config: what it lets through, and where it is said to be wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from nvscope.exporter.cli import export
from nvscope.exporter.web.settings import config
from tests.unit.exporter.web.certificates import issue
from tests.unit.exporter.web.client import HASH
from tests.unit.exporter.web.settings.configs import CASES, Case

ROOT = Path(__file__).resolve().parents[5]
GOOD = f"""
# as exporter-toolkit has it
basic_auth_users:
  prom: {HASH}
  123: {HASH.replace("$2b$", "$2y$")}
http_server_config:
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "web.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def check(folder: Path, *options: str) -> Result:
    """`nvscope export --check-config`, with a file that names web.yml in the folder."""
    path = folder / "nvscope.toml"
    path.write_text(f'[export]\nweb-config = "{folder / "web.yml"}"\n')
    return CliRunner().invoke(export, ["--config", str(path), "--check-config", *options])


def test_a_good_file(tmp_path: Path) -> None:
    read = config.read(written(tmp_path, GOOD))
    assert list(read.users) == ["prom", "123"]
    assert read.headers == {
        "X-Frame-Options": "deny",
        "Strict-Transport-Security": "max-age=31536000",
    }
    assert check(tmp_path).output == f"{tmp_path / 'nvscope.toml'} is good\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the files that CASES name."""
    authority = trustme.CA()
    issue(authority, tmp_path)
    authority.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_becomes_of(folder: Path, case: Case) -> None:
    path = written(folder, case.text)
    done = check(folder)
    if isinstance(case.becomes, str):
        said = case.becomes.replace("FOLDER", str(folder))
        assert done.output == f"Error: {path} {said}\n"
        assert done.exit_code == (3 if "cannot read" in said else 2)
        return
    assert (done.output, done.exit_code) == (f"{folder / 'nvscope.toml'} is good\n", 0)
    web, wanted = config.read(path), case.becomes
    assert (tuple(web.users), web.headers) == (wanted.users, wanted.headers)
    assert (web.tls is None) == (wanted.tls is None)
    for name, value in (wanted.tls or {}).items():
        assert getattr(web.tls, name) == value, name


def test_what_others_take_and_is_refused_is_documented() -> None:
    text = " ".join((ROOT / "docs/web-configuration.md").read_text().split())
    for case in CASES:
        if isinstance(case.becomes, str) and case.elsewhere is not False and case.name != "a burst":
            # After the line and the name, or what cannot be honoured; before a list.
            reason = re.sub(r"^line \d+: ([^:]* cannot be honoured: |\S+ )", "", case.becomes)
            reason = re.sub(
                r"^(YAML: |TLS_\S+ |has a hash of cost 15, )|(; there are) .*", r"\2", reason
            )
            assert f"| {reason}" in text, case.name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: \x01", ": no YAML: unacceptable character"),
        ("a: " + "[" * 10_000, ": no YAML: maximum recursion depth exceeded"),
        (b"a: 1\nb: \xff\n", "line 2: not UTF-8"),
        ("#" * ((1 << 16) + 1), "is no web configuration: longer than 65,536 bytes"),
        (f"basic_auth_users:\n  a: {HASH[:-1]}", "line 2: a has no bcrypt hash; make"),
        (f"basic_auth_users:\n  a: {HASH.replace('$2b$', '$2x$')}", "line 2: a has no bcrypt hash"),
        (f"basic_auth_users:\n  {'a' * 900}: x", "line 2: 'aaaaaaaa"),
        ('basic_auth_users:\n  "\\ud800": x', "line 2: a key has a character that no text has"),
    ],
    ids=lambda given: str(given)[-20:],
)
def test_what_no_editor_writes(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = written(tmp_path, text)
    done = check(tmp_path)
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert line.startswith(f"Error: {path}")
    assert words in line
    assert len(line) < len(str(path)) + 300


def test_no_file(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.exit_code == 3
    assert done.output == f"Error: cannot read {tmp_path / 'web.yml'}: No such file or directory\n"
    (tmp_path / "web.yml").mkdir()
    done = check(tmp_path)
    assert (done.exit_code, "is a directory" in done.output) == (2, True)


@pytest.mark.parametrize(("module", "name"), [("yaml", "PyYAML"), ("bcrypt", "bcrypt")])
def test_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    written(tmp_path, GOOD)
    monkeypatch.setitem(sys.modules, module, None)
    done = check(tmp_path)
    assert done.exit_code == 3
    assert done.output.startswith(f"Error: there is no {name} here, which ")


def test_nothing_of_it_is_imported_where_it_is_not_asked_for() -> None:
    code = (
        "import sys; from nvscope.exporter import cli\n"
        "cli.web_configuration; print({'yaml', 'bcrypt', 'hypercorn'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
