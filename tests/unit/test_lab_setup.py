"""What the set-up says when a step can't be done: one line, and how to mend it; exit code 3."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nvscope.cli import main
from nvscope.lab.kernel import build, source
from nvscope.lab.setup import apt, host
from nvscope.probes.errors import LackError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NVSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def lab(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["lab", *arguments])


def one_line(result: Result) -> str:
    assert result.exit_code == 3, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "missing_packages", lambda *_: ["bison", "qemu-system-arm"])
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    said = one_line(lab("build"))
    assert "bison, qemu-system-arm" in said
    assert "root" in said


def test_no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 30))
    monkeypatch.setattr(build, "key", lambda *_: "key")
    with pytest.raises(LackError, match=r"needs 6 GiB .* 1 GiB are free.*NVSCOPE_CACHE"):
        build.build(source.Source(tmp_path, "none"))


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # A real apt, and a mirror that is not there.
    monkeypatch.setattr(apt, "mirror", lambda: "http://127.0.0.1:9/debian")
    with pytest.raises(LackError, match=r"apt-get update failed: .*Debian archive"):
        apt.Apt("test", "arm64", ("trixie",)).update()


def test_the_archive_has_moved_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt.Apt, "update", lambda _: None)
    monkeypatch.setattr(apt.Apt, "candidate", lambda *_: None)
    monkeypatch.setattr(apt.Apt, "names", lambda *_: ["linux-source-7.4", "linux-source-7.6"])
    with pytest.raises(LackError) as error:
        source.fetched()
    assert "linux-source-7.4, linux-source-7.6" in error.value.message
    assert "--source" in error.value.message


def test_not_debian(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('ID=fedora\nVERSION_CODENAME=""\n')
    with pytest.raises(LackError, match="not Debian"):
        apt.host_suite(release)


def test_a_source_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "missing_packages", lambda *_: [])
    assert "no Kconfig" in one_line(lab("build", "--source", str(tmp_path)))


def test_a_source_that_is_not_there() -> None:
    assert lab("build", "--source", "/no/such/tree").exit_code == 2


def test_own_source_goes_into_the_key(tmp_path: Path) -> None:
    for name in ("a.tar.xz", "b.tar.xz"):
        (tmp_path / name).write_bytes(name.encode())
    first, second = (source.given(tmp_path / name) for name in ("a.tar.xz", "b.tar.xz"))
    assert first.identity != second.identity


def test_clean_without_a_cache() -> None:
    result = lab("clean", "--yes")
    assert (result.exit_code, result.output) == (0, "nothing to remove\n")


def test_clean_asks(cache: Path) -> None:
    cache.mkdir()
    assert lab("clean").exit_code == 1
    assert cache.exists()
    assert lab("clean", "--yes").exit_code == 0
    assert not cache.exists()
