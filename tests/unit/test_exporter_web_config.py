"""--web-config: what it lets through, and where it is said to be wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from exporter_web import HASH

from nvscope.exporter.cli import export
from nvscope.exporter.web import config

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


@pytest.mark.parametrize("text", ["", "# nothing\n", "http_server_config:\n"])
def test_an_empty_file(tmp_path: Path, text: str) -> None:
    assert config.read(written(tmp_path, text)) == config.WebConfig()


USERS = "basic_auth_users:\n  prom: "
HEADERS = "http_server_config:\n  headers:\n    "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nbasic_auth: {}\n", "line 2: no basic_auth in a web configuration; there are "),
        ("\n\nrate_limit: {}\n", "line 3: rate_limit cannot be honoured: "),
        ("[]", "line 1: a web configuration has keys and values"),
        ("a: 1\n b: 2", "line 2: no YAML: mapping values are not allowed here"),
        ("a: [1", "line 1: no YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: \x01", ": no YAML: unacceptable character"),
        ("a: " + "[" * 100_000, ": no YAML: maximum recursion depth exceeded"),
        ("a: *b", "line 1: no YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "line 2: no YAML: but found another document"),
        (b"a: 1\nb: \xff\n", "line 2: not UTF-8"),
        ("#" * ((1 << 20) + 1), "is no web configuration: longer than 1,048,576 bytes"),
        ("basic_auth_users: {}", "line 1: basic_auth_users names no user"),
        ("basic_auth_users: x", "line 1: basic_auth_users has keys and values"),
        (USERS + "secret", "line 2: prom: no bcrypt hash; make one by: htpasswd"),
        (USERS, "line 2: prom is a text"),
        (USERS + "[x]", "line 2: prom is a text"),
        (USERS + HASH[:-1], "line 2: prom: no bcrypt hash"),
        (USERS + HASH.replace("$2b$", "$2x$"), "line 2: prom: no bcrypt hash"),
        (USERS + HASH.replace("$04$", "$03$"), "line 2: prom: cost 03; it is 4 to 14"),
        (USERS + HASH.replace("$04$", "$31$"), "line 2: prom: cost 31; it is 4 to 14"),
        (f"{USERS}{HASH}\n  prom: {HASH}", "line 3: prom is there twice"),
        ("? [a]\n: 1\n", "line 1: a key is a text"),
        ("http_server_config:\n  http2: true", "line 2: http2 cannot be honoured: HTTP/1.1 is"),
        (HEADERS + "Server: x", "line 3: no Server in headers; there are Content-Security"),
        (HEADERS + "X-Frame-Options: some", "line 3: X-Frame-Options: 'some'; it is deny or"),
        (HEADERS + 'X-XSS-Protection: "1\\r\\nx: y"', "line 3: X-XSS-Protection: it has more"),
    ],
)
def test_a_bad_file(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = written(tmp_path, text)
    done = check(tmp_path)
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert line.startswith(f"Error: {path}")
    assert words in line


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
