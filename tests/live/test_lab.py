"""The lab itself: what it returns, what it says when a guest fails, and that nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from nvscope.lab import assets
from nvscope.lab.host.remote import GuestError
from nvscope.lab.host.vm import Lab
from nvscope.lab.setup.apt import host_suite
from nvscope.lab.setup.paths import cache_dir


def test_the_host_has_nested_virtualization(lab_host: Lab) -> None:
    assert "VHE+NV2 mode initialized" in lab_host.run("dmesg").stdout


def test_the_stock_host_has_nested_virtualization(stock_host: Lab) -> None:
    assert "deb13" in stock_host.run("uname -r").stdout
    assert "VHE+NV2 mode initialized" in stock_host.run("dmesg").stdout


def test_output_and_exit_status_come_back(lab_host: Lab) -> None:
    done = lab_host.run("echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_a_command_has_a_time_limit(lab_host: Lab) -> None:
    started = time.monotonic()
    with pytest.raises(GuestError, match="did not end in 2 s"):
        lab_host.run("sleep 60", timeout=2)
    assert time.monotonic() - started < 30


def test_the_code_runs_from_the_checkout(lab_host: Lab) -> None:
    assert lab_host.run("nvscope --version").stdout.startswith("nvscope, version ")


def test_a_crash_is_told_with_the_consoles_end() -> None:
    with assets.prepare().boot(cpus=1, memory_mib=1024) as host:
        host.wait_ready()
        with pytest.raises(GuestError, match="sysrq triggered crash"):
            host.run("echo c > /proc/sysrq-trigger; sleep 60", timeout=30)
        folder = host.folder
    assert not folder.exists()


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is cached, but no lab that is up: whoever tests may have one."""
    for path in cache_dir().iterdir():
        if path.name != "running":
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.setenv("NVSCOPE_CACHE", str(tmp_path))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_command_is_ended(number: int) -> None:
    nvscope = Path(sys.executable).with_name("nvscope")
    with subprocess.Popen(
        [nvscope, "lab", "run", "echo up; sleep 600"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Where the tests run in the background, SIGINT is ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as command:
        try:
            assert command.stdout and command.stdout.readline() == "up\n"
            family = psutil.Process(command.pid).children(recursive=True)
            assert any("qemu" in child.name() for child in family)
            os.kill(command.pid, number)
            command.wait(30)
        finally:
            command.kill()
    # The shared ssh connection is nobody's child; it carries the lab's folder in its title.
    family += [p for p in psutil.process_iter() if f"nvscope-lab-{command.pid}-" in title(p)]
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    # Of a command that was killed the next lab removes what it could not.
    with assets.prepare().boot(cpus=1, memory_mib=1024):
        left = list(Path(tempfile.gettempdir()).glob(f"nvscope-lab-{command.pid}-*"))
    assert left == []


@pytest.fixture
def unbuilt(alone: None, tmp_path: Path) -> Path:
    """A cache without a lab kernel."""
    assets.prepare("stock")
    (tmp_path / "kernel").unlink(missing_ok=True)
    return tmp_path


def test_the_demo_shows_debians_kernel_while_the_labs_is_built(unbuilt: Path) -> None:
    said, seen = [], False
    with demo() as command:
        try:
            assert command.stderr
            for line in command.stderr:
                said.append(line)
                if " 2 full 0 ranged" in line:
                    seen = True
                    break
            assert seen, "".join(said)
            family = psutil.Process(command.pid).children(recursive=True)
            build = next(p for p in family if "lab build" in title(p))
            family += build.children(recursive=True)
            assert {p.nice() for p in [build, *build.children(recursive=True)]} == {19}
            # As a terminal's Ctrl-C: to all in the foreground. The build is not there.
            os.killpg(command.pid, signal.SIGINT)
            said += command.stderr.readlines()
            assert command.wait(120) == 130, "".join(said)
        finally:
            command.kill()
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert "Summary: since the exporter started" in "".join(said)
    # Nothing of the build is left but its log.
    assert list((unbuilt / "kernel").iterdir()) == []
    assert "lab kernel" in (unbuilt / "lab-build.log").read_text()


def test_a_build_that_fails_is_told_after_the_first_view(unbuilt: Path) -> None:
    # Debian's kernel is cached; for the lab's source there is no archive.
    (unbuilt / "source").unlink(missing_ok=True)
    sources = unbuilt / "sources.list"
    sources.write_text(f"deb http://127.0.0.1:9/debian {host_suite()} main\n")
    settings = unbuilt / "apt.conf"
    settings.write_text(f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "/dev/null";\n')
    with demo("--seconds", "20", APT_CONFIG=str(settings)) as command:
        try:
            assert command.stderr
            said = command.stderr.read()
        finally:
            command.kill()
    assert command.returncode == 3, said
    assert " full 0 ranged" in said
    assert "Error: the lab kernel's build failed: apt-get update failed" in said
    assert f"(its output: {unbuilt}/lab-build.log)" in said


def demo(*options: str, **environment: str) -> subprocess.Popen[str]:
    """The demo as a command of its own, in a session of its own."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("nvscope"), "lab", "demo", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def test_the_guests_python_has_its_byte_code(lab_host: Lab) -> None:
    # -v says of each module where its code comes from: byte code, or the source itself.
    imports = "bcc, click, h11, prometheus_client, psutil, pyroute2, rich.live, numpy, pyarrow"
    said = lab_host.run(f"python3 -B -v -c 'import {imports}' 2>&1").stdout.splitlines()
    loaded = [line for line in said if line.startswith("# code object from ")]
    assert len(loaded) > 300
    from_source = [line for line in loaded if ".pyc" not in line]
    # A link to a file of five lines in /etc, where this machine's compiler does not find it.
    assert [line for line in from_source if "/sitecustomize.py" not in line] == []


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
