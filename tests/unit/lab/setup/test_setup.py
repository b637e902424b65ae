"""What the set-up says when a step can't be done: one line, and how to mend it; exit code 3."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nvscope.cli import main
from nvscope.lab import assets
from nvscope.lab.kernel import source
from nvscope.lab.kernel.building import build
from nvscope.lab.kernel.subject import Subject
from nvscope.lab.setup import apt, host
from nvscope.probes.errors import LackError

pytestmark = pytest.mark.usefixtures("cache")


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
        build.build(source.SourceTree(tmp_path, "none"))


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


def test_the_mirror_is_known_before_any_list_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists/partial").mkdir(parents=True)
    sources = tmp_path / "sources.list"
    sources.write_text("deb http://mirror.test/debian bookworm main\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::lists "{tmp_path}/lists";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setattr(apt, "host_suite", lambda: "bookworm")
    assert apt.mirror() == "http://mirror.test/debian/"


def started(script: str, *, interrupted: bool = False) -> subprocess.Popen[str]:
    """A command; interrupted: Ctrl-C comes while its output is awaited for the first time."""
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    await_it, calls = process.communicate, iter([interrupted, False])

    def communicate() -> tuple[str, str]:
        if next(calls):
            raise KeyboardInterrupt
        return await_it()

    process.communicate = communicate  # type: ignore[method-assign,assignment]
    return process


def test_an_installation_that_is_interrupted_ends_first() -> None:
    process = started("sleep 0.5; exit 7", interrupted=True)
    with pytest.raises(KeyboardInterrupt):
        apt._outcome(process, whole=True)
    assert process.returncode == 7


def test_another_command_that_is_interrupted_is_killed() -> None:
    process = started("exec sleep 60", interrupted=True)
    with pytest.raises(KeyboardInterrupt):
        apt._outcome(process, whole=False)
    assert process.returncode == -9


def test_a_debian_kernel_needs_nothing_to_build_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_there", lambda _: False)
    stock = host.missing_packages(*assets._needs(Subject("stock"), with_selftests=False))
    lab = host.missing_packages(*assets._needs(Subject("lab"), with_selftests=False))
    assert set(stock) < set(lab)
    compilers = {"bison", "dwarves", "flex", "gcc", "gcc-aarch64-linux-gnu", "libelf-dev", "make"}
    assert not compilers & set(stock)
    assert set(assets._needs(Subject("stock"), with_selftests=True)[0]) >= {"gcc", "make"}


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
