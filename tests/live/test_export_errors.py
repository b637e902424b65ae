"""What `nvscope export` says when something is missing: one line, the remedy, the exit code."""

from __future__ import annotations

import subprocess

import pytest

from nvscope.lab.host.machine import METRICS_PORT
from nvscope.lab.host.services import Exporter, GuestProcess
from nvscope.lab.host.vm import Lab
from nvscope.probes.points.catalog.points import applicable
from tests.live.conftest import Observed

LACKS = 3
EXPORT = "nvscope export --listen 127.0.0.1:0"


def fails(lab: Lab, command: str, *words: str) -> None:
    """The command fails with exit code 3 and one line on stderr that has all the words."""
    done = lab.run(command, check=False)
    assert_one_line(done, *words)


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == LACKS, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_a_missing_symbol_is_said_and_the_rest_works(lab_host: Lab) -> None:
    with Exporter(lab_host, "--symbol", "s2_fault=no_such_function") as exporter:
        metrics = exporter.scrape()
        assert "no_such_function" in exporter.errors()
    attached = metrics.values("nvscope_probe_attached", "probe")
    assert attached.pop("s2_fault") == 0
    assert set(attached) == set(applicable("maple")) - {"s2_fault"}
    assert set(attached.values()) == {1}


def test_a_missing_symbol_is_an_error_when_strict(lab_host: Lab) -> None:
    fails(
        lab_host,
        f"{EXPORT} --strict --symbol s2_fault=no_such_function",
        "s2_fault",
        "no_such_function",
    )


def test_kernel_without_btf(lab_host: Lab) -> None:
    hide = "mount -t tmpfs none /sys/kernel/btf"
    fails(lab_host, f"unshare -m sh -c '{hide} && {EXPORT}'", "BTF")


def test_not_root(lab_host: Lab) -> None:
    command = f"setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/tmp {EXPORT}"
    fails(lab_host, command, "root")


@pytest.mark.parametrize("observed", ["lab-fentry"], indirect=True)
def test_port_taken(observed: Observed) -> None:
    fails(observed.host, f"nvscope export --listen 0.0.0.0:{METRICS_PORT}", "in use", "--listen")


def test_host_without_nv2(host_without_nv: Lab) -> None:
    fails(host_without_nv, EXPORT, "nested")


def test_wrong_usage(lab_host: Lab) -> None:
    done = lab_host.run("nvscope export --listen nowhere", check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_signals_detach_all(lab_host: Lab) -> None:
    """SIGTERM and SIGINT; two exporters at once, for compiling takes the time."""
    links = "ls /sys/kernel/tracing/ >/dev/null; cat /sys/kernel/tracing/enabled_functions"
    before = lab_host.run(links).stdout
    with GuestProcess(lab_host, EXPORT) as one, GuestProcess(lab_host, EXPORT) as other:
        for exporter in (one, other):
            assert "serving" in exporter.line(240)
        for exporter, number in ((one, 15), (other, 2)):
            assert "kvm_unmap_gfn_range" in lab_host.run(links).stdout
            exporter.signal(number)
            assert exporter.wait() == 0
    assert lab_host.run(links).stdout == before
