"""`nvscope export` as a process: what it says, how it ends, and no traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from nvscope.exporter import cli
from nvscope.probes.errors import LackError
from tests.unit.exporter.web.certificates import issue, written

# Runs the command with a fake in place of the kernel; says when that was closed.
DRIVER = """
from tests.unit.exporter.fakes import FakeSource
from nvscope.exporter import cli
class Source(FakeSource):
    def close(self):
        print("closed", flush=True)
def open_source(wanted):
    print("opened", wanted, flush=True)
    return Source()
cli.open_source = open_source
cli.require_initial_pid_namespace = lambda: None
cli.export(prog_name="nvscope export")
"""


def start(
    *arguments: str,
    driver: str = DRIVER,
    environment: dict[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-c", driver, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        pass_fds=pass_fds,
    )


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.export, arguments, prog_name="nvscope export")


def one_line(text: str) -> str:
    (line,) = text.strip().splitlines()
    return line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_a_signal(number: signal.Signals) -> None:
    with start(
        "--listen", "127.0.0.1:0", "--mechanism", "kprobe", "--symbol", "s2_fault=b"
    ) as process:
        assert process.stdout is not None
        opened, line = process.stdout.readline(), process.stdout.readline()
        url = line.split()[1].rstrip(";")
        with urllib.request.urlopen(url, timeout=10) as response:
            assert b"nvscope_up 1.0" in response.read()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert "mechanisms=('kprobe',), symbols={'s2_fault': 'b'}, strict=False, max_vms=1024" in opened
    assert line.startswith("serving http://127.0.0.1:")
    assert line.endswith("; attached: notifier_unmap (fentry kvm_unmap_gfn_range)\n")
    assert out == "closed\n"
    assert one_line(err) == (
        "nvscope: not attached: shadow_unmap (kvm_stage2_unmap_range): not in this kernel's BTF"
    )
    assert process.returncode == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_systemd_hears_that_it_serves_and_goes_on(tmp_path: Path, scheme: str) -> None:
    options = ["--listen", "127.0.0.1:0"]
    if scheme == "https":
        issue(trustme.CA(), tmp_path)
        options += ["--web-config", str(written(tmp_path))]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
        with start(*options, environment=environment) as process:
            ready = f"READY=1\nSTATUS=serving {scheme}://127.0.0.1:"
            assert manager.recv(200).decode().startswith(ready)
            assert manager.recv(200) == manager.recv(200) == b"WATCHDOG=1"
            process.terminate()
            process.communicate(timeout=20)
        heard = [manager.recv(200)]
        while heard[-1] == b"WATCHDOG=1":
            heard.append(manager.recv(200))
    assert heard[-1] == b"STOPPING=1"


ACTIVATED = (
    """
import os
os.dup2(int(os.environ["GIVEN"]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
"""
    + DRIVER
)


def test_systemd_may_give_the_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        given = {"GIVEN": str(sock.fileno())}
        port, options = sock.getsockname()[1], {"driver": ACTIVATED, "environment": given}
        with start(pass_fds=[sock.fileno()], **options) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert process.stdout.readline().startswith(f"serving http://127.0.0.1:{port}/")
            process.terminate()
            process.communicate(timeout=20)
        with start("--listen", "127.0.0.1:0", pass_fds=[sock.fileno()], **options) as process:
            _, err = process.communicate(timeout=20)
    assert "systemd gives us a socket" in err
    assert process.returncode == 2


TWO = ACTIVATED.replace('"1"', '"2"').replace("3)\n", '3)\nos.dup2(int(os.environ["OTHER"]), 4)\n')


def test_two_sockets_of_systemds(tmp_path: Path) -> None:
    """One of them is a Unix socket. Both are served, and said."""
    with socket.create_server(("127.0.0.1", 0)) as sock, socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "t"))
        other.listen()
        port, files = sock.getsockname()[1], [sock.fileno(), other.fileno()]
        given = {"GIVEN": str(files[0]), "OTHER": str(files[1])}
        with start(pass_fds=files, driver=TWO, environment=given) as process:
            assert process.stdout is not None
            process.stdout.readline()
            said = process.stdout.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                assert b"nvscope_up 1.0" in page.read()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "t"))
                client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert client.makefile("rb").read().endswith(b"ok\n")
            process.terminate()
            _, err = process.communicate(timeout=20)
    where = f"http://127.0.0.1:{port}/metrics, /metrics on unix:{tmp_path}/t; attached: "
    assert said.startswith(f"serving {where}")
    assert "Traceback" not in err
    assert process.returncode == 0


def test_sighup_reads_the_configuration_again(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("[export]\nlisten = '127.0.0.1:0'\nmax-series-vms = 3\n")
    with start("--config", str(config)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.readline()
        process.stderr.readline()
        config.write_text("[export]\nlisten = '127.0.0.1:0'\nmax-series-vms = 0\n")
        process.send_signal(signal.SIGHUP)
        bad = process.stderr.readline()
        config.write_text("[export]\nlisten = '127.0.0.1:0'\nmax-series-vms = 1\n")
        process.send_signal(signal.SIGHUP)
        good = process.stderr.readline()
        process.terminate()
        process.communicate(timeout=20)
    assert f"not reloaded: {config} line 3: max-series-vms: 0 is not in the range" in bad
    assert good == f"nvscope: reloaded {config}\n"
    assert process.returncode == 0


PINNED = """
from nvscope.exporter import cli
cli.require_initial_pid_namespace = lambda: None
cli.export(prog_name="nvscope export")
"""


def test_it_waits_for_pins(tmp_path: Path) -> None:
    with start("--listen", "127.0.0.1:0", "--pinned", str(tmp_path), driver=PINNED) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        with urllib.request.urlopen(line.split()[1].rstrip(";"), timeout=10) as response:
            page = response.read().decode()
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert line.endswith(f"; pinned in {tmp_path}; attached: nothing\n")
    assert "nvscope_up 0.0" in page
    assert "nvscope_build_info{" in page
    assert "nvscope_host_info" not in page
    lacking = f"nothing is loaded in {tmp_path}: as root, nvscope load"
    assert err.splitlines() == [
        f"nvscope: waiting: {lacking}",
        f"nvscope: {lacking}; nvscope_up is 0 until then",
    ]
    assert process.returncode == 0


def test_a_taken_port_is_seen_before_anything_is_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "run", lambda *_: pytest.fail("went on"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("--listen", f"127.0.0.1:{port}")
    assert result.exit_code == 3
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in one_line(
        result.output
    )


def test_what_the_host_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> None:
        raise LackError("no KVM")

    monkeypatch.setattr(cli, "run", lacking)
    result = invoke("--listen", "127.0.0.1:0")
    assert (result.exit_code, one_line(result.output)) == (3, "Error: no KVM")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--listen", "9810"),
        ("--listen", ":9810"),
        ("--listen", "127.0.0.1:65536"),
        ("--listen", "::1:9810"),
        ("--mechanism", "magic"),
        ("--symbol", "s2_fault"),
        ("--symbol", "fault=user_mem_abort"),
        ("--symbol", "s2_fault=a b"),
        ("--symbol", "s2_fault=a", "--symbol", "s2_fault=b"),
        ("--max-vms", "0"),
        ("--max-series-vms", "0"),
        ("extra",),
        ("--pinned", "--strict"),
        ("--pinned", "--max-vms", "7"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "run", lambda *_: pytest.fail("went on"))
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "most"),
    [
        ((), 1024),
        (("--max-vms", "9"), 9),
        (("--max-vms", "9", "--max-series-vms", "4"), 4),
        (("--pinned", "/run/x", "--max-series-vms", "4"), 4),
        (("--pinned", "/run/x"), None),
    ],
)
def test_vms_with_series_are_as_many_as_can_be_told_apart_or_fewer(
    arguments: tuple[str, ...], most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr(cli, "run", lambda *arguments: given.extend(arguments))
    assert invoke("--listen", "127.0.0.1:0", *arguments).exit_code == 0
    assert given[2] == most


def test_a_host_that_does_not_resolve() -> None:
    result = invoke("--listen", "no-such-host.invalid:9810")
    assert result.exit_code == 3
    assert "cannot listen on no-such-host.invalid" in one_line(result.output)


def test_help_needs_no_bcc() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert "nvscope export --mechanism kprobe" in result.output
    assert "bcc" not in sys.modules
