"""SIGHUP: what changes, what does not, and what a bad file does: nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import click
import pytest
from prometheus_client import CollectorRegistry

from nvscope.exporter.cli import export
from nvscope.exporter.reloads import Reloads
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.settings.config import WebConfig


@pytest.fixture(autouse=True)
def hear_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def begun(path: Path, *options: str) -> Reloads:
    context = export.make_context("export", ["--config", str(path), *options])
    return Reloads(context, path, Authentication(WebConfig()))


def successful(reloads: Reloads) -> float | None:
    registry = CollectorRegistry()
    registry.register(reloads)
    return registry.get_sample_value("nvscope_config_last_reload_successful")


def test_what_can_change_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, bounds = tmp_path / "a.toml", list[int]()
    path.write_text("[export]\nmax-series-vms = 3\nlisten = '127.0.0.1:1'\n")
    reloads = begun(path)
    path.write_text("[export]\nmax-series-vms = 5\nlisten = '127.0.0.1:2'\n")
    reloads.reload({"max_series_vms": bounds.append})
    assert bounds == [5]
    assert caplog.messages == ["--listen changes with the next start only", f"reloaded {path}"]
    caplog.clear()
    reloads.reload({"max_series_vms": bounds.append})
    assert bounds == [5]
    assert caplog.messages == ["--listen changes with the next start only", f"reloaded {path}"]


def test_the_command_line_goes_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[export]\nmax-series-vms = 3\n")
    reloads = begun(path, "--max-series-vms", "4")
    path.write_text("[export]\nmax-series-vms = 5\n")
    reloads.reload({"max_series_vms": lambda _: pytest.fail("changed")})
    assert caplog.messages[0] == "--max-series-vms stays as the command line has it"


def test_a_bad_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, bounds = tmp_path / "a.toml", list[int]()
    path.write_text("[export]\nmax-series-vms = 3\n")
    reloads = begun(path)
    assert successful(reloads) == 1
    path.write_text("[export]\nmax-series-vms = 5\nlisten = 1\n")
    reloads.reload({"max_series_vms": bounds.append})
    path.unlink()
    reloads.reload({"max_series_vms": bounds.append})
    assert bounds == []
    assert caplog.messages == [
        f"not reloaded: {path} line 3: listen: 1 is not a string; all stays as it was",
        f"not reloaded: cannot read {path}: No such file or directory; all stays as it was",
    ]
    assert successful(reloads) == 0
    path.write_text("[export]\nmax-series-vms = 5\n")
    reloads.reload({"max_series_vms": bounds.append})
    assert (bounds, successful(reloads)) == ([5], 1)


def test_no_file_to_read(caplog: pytest.LogCaptureFixture) -> None:
    reloads = Reloads(click.Context(export), None, Authentication(WebConfig()))
    reloads.reload({})
    assert caplog.messages == ["nothing to reload: there is neither --config nor --web-config"]
    assert successful(reloads) is None


def test_both_files_are_good_or_neither_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, web, bounds = tmp_path / "a.toml", tmp_path / "web.yml", list[int]()
    path.write_text(f"[export]\nmax-series-vms = 3\nweb-config = '{web}'\n")
    web.write_text("http_server_config:\n")
    context = export.make_context("export", ["--config", str(path)])
    reloads = Reloads(context, path, Authentication(WebConfig(), web))
    path.write_text(path.read_text().replace("3", "5"))
    web.write_text("basic_auth_users:\n  prom: secret\n")
    reloads.reload({"max_series_vms": bounds.append})
    assert (bounds, successful(reloads)) == ([], 0)
    assert caplog.messages[0].startswith(f"not reloaded: {web} line 2: prom has no bcrypt hash")
