"""`nvscope load` and `export --pinned`: who counts and who serves are different processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nvscope.lab.host.services import Exporter, GuestProcess, ManyVms, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.probes.counts.decode import LABELS
from nvscope.probes.counts.pools import SHARES
from tests.live.counts import UNMAPS, assert_all_agree
from tests.live.tracers import attached, await_attached

LOAD_SECONDS = 300
# A row for each VM, and room for 20 VMs with all rows that one can have.
MANY_VMS, FEW_VMS = 1100, 20
# Who reads, and whom the pins are given to.
GROUP = 65534
NOBODY = (
    f"setpriv --reuid 65534 --regid {GROUP} --clear-groups --bounding-set=-all --no-new-privs"
    " env HOME=/tmp"
)
# The loader, ended by SIGKILL when it has pinned two of its links.
KILLED = """
import os
from nvscope.cli import main
from nvscope.probes.kernel import libbpf
pin = libbpf.pin
def pin_two_links(fd, path):
    pin(fd, path)
    if path.parent.name == "links" and len(list(path.parent.iterdir())) == 2:
        os.kill(os.getpid(), 9)
libbpf.pin = pin_two_links
main(["load", "--group", "65534"])
"""


@pytest.fixture(autouse=True)
def unloaded(lab_host: Lab) -> Iterator[None]:
    """Whatever a test has left is gone before the next one looks."""
    yield
    lab_host.run("nvscope unload")
    await_attached(lab_host, "")


def unprivileged(lab: Lab) -> Exporter:
    return Exporter(lab, "--pinned", before=NOBODY)


def refused(lab: Lab) -> str:
    """What a loader says that may not load."""
    done = lab.run("nvscope load", check=False, timeout=LOAD_SECONDS)
    assert done.returncode == 3
    return done.stderr


def assert_told_of_programs(lab: Lab, exporter: Exporter) -> None:
    """As the kernel tells root: how often each ran, and was skipped."""
    lab.run("sysctl -q kernel.bpf_stats_enabled=1")
    with Synthetic(lab, "counted", "--unmaps", "5", hold=False) as guest:
        guest.facts(120)
        assert guest.wait() == 0
    lab.run("sysctl -q kernel.bpf_stats_enabled=0")
    metrics = exporter.scrape()
    runs = metrics.values("nvscope_program_runs_total", "program")
    assert runs["notifier_unmap_entry"] == runs["notifier_unmap_exit"] >= 5
    assert metrics.sum("nvscope_program_run_seconds_total", program="notifier_unmap_exit") > 0
    assert metrics.values("nvscope_events_lost_total", "cause")["recursion"] == 0


def test_root_alone_reads_where_no_group_is_named(lab_host: Lab) -> None:
    lab_host.run("nvscope load", timeout=LOAD_SECONDS)
    with unprivileged(lab_host) as exporter:
        assert exporter.scrape().sum("nvscope_up") == 0
        exporter.await_error("not allowed to read what is loaded in /run/nvscope/bpf", 10)
    with Exporter(lab_host, "--pinned") as exporter:
        assert exporter.scrape().sum("nvscope_up") == 1


@pytest.mark.parametrize("mechanism", ["fentry", "kprobe"])
def test_counts_outlive_exporters(lab_host: Lab, mechanism: str) -> None:
    before = attached(lab_host)
    options = f"--strict --group {GROUP} --mechanism {mechanism}"
    said = lab_host.run(f"nvscope load {options}", timeout=LOAD_SECONDS)
    assert said.stderr == ""
    assert said.stdout.startswith("loaded in /run/nvscope/bpf; attached: ")
    assert f"notifier_unmap ({mechanism} kvm_unmap_gfn_range)" in said.stdout
    assert "loaded in /run/nvscope/bpf already: nvscope unload" in refused(lab_host)
    with (
        Synthetic(lab_host, "seen", "--unmaps", "13") as seen,
        Synthetic(lab_host, "unseen", "--unmaps", "29") as unseen,
    ):
        facts = seen.facts(120)
        with unprivileged(lab_host) as exporter:
            assert_all_agree(facts, exporter.scrape(), seen=None)
            exporter.signal(9)
            exporter.wait()
        more = unseen.facts(180)
        with unprivileged(lab_host) as exporter:
            metrics = exporter.scrape()
            assert_all_agree(facts, metrics, seen=None)
            assert_all_agree(more, metrics, seen=None)
            assert metrics.values("nvscope_host_info", "revmap") == {"maple": 1}
            assert metrics.values("nvscope_probe_attached", "mechanism") == {mechanism: 1}
            assert_told_of_programs(lab_host, exporter)
            seen.release()
            assert seen.wait() == 0
            assert set(exporter.scrape().values("nvscope_vm_info", "vm")) == {"unseen"}
            assert lab_host.run("nvscope unload").stdout == "unloaded from /run/nvscope/bpf\n"
            gone = exporter.scrape()
            assert gone.sum("nvscope_up") == 0
            assert not gone.select("nvscope_vm_info")
            exporter.await_error("nothing is loaded in /run/nvscope/bpf", 10)
    assert lab_host.run("nvscope unload").stdout == "nothing was loaded in /run/nvscope/bpf\n"
    await_attached(lab_host, before)


def test_a_loader_killed_half_way(lab_host: Lab) -> None:
    before = attached(lab_host)
    with GuestProcess(lab_host, f"python3 -c '{KILLED}'") as loader:
        lab_host.run("until mountpoint -q /run/nvscope/bpf; do sleep 0.1; done; sleep 1")
        assert "another loader is at work in /run/nvscope/bpf" in refused(lab_host)
        assert loader.wait(LOAD_SECONDS) != 0
    with unprivileged(lab_host) as exporter:
        assert exporter.scrape().sum("nvscope_up") == 0
        exporter.await_error("waiting: nothing is loaded in /run/nvscope/bpf", 10)
    assert attached(lab_host) != before
    assert lab_host.run("nvscope unload").stdout == "unloaded from /run/nvscope/bpf\n"
    await_attached(lab_host, before)


def test_more_vms_than_there_is_room_for(lab_host: Lab) -> None:
    """Counted, said, and no matter to those that were there before."""
    room = FEW_VMS * len(LABELS) * SHARES
    lab_host.run(f"nvscope load --group {GROUP} --max-vms {FEW_VMS}", timeout=LOAD_SECONDS)
    with (
        Synthetic(lab_host, "before", "--unmaps", "7") as before,
        Exporter(lab_host, "--pinned", "--max-series-vms", "5", before=NOBODY) as exporter,
    ):
        facts = before.facts(120)
        earlier = exporter.scrape()
        assert_all_agree(facts, earlier, seen=None)
        used = earlier.sum("nvscope_map_entries", map="rows")
        with ManyVms(lab_host, "many", MANY_VMS) as many:
            assert many.facts(240)["unmaps"] == MANY_VMS
            metrics = exporter.scrape()
            assert metrics.sum("nvscope_map_entries", map="rows") == room
            assert metrics.sum("nvscope_map_capacity", map="rows") == room
            lost = MANY_VMS - (room - used)
            assert metrics.values("nvscope_events_lost_total", "cause")["vm_full"] == lost
            assert metrics.sum(f"{UNMAPS}_count", vm="before") == 7
            assert metrics.sum(f"{UNMAPS}_count") == 7 + MANY_VMS - lost
            assert metrics.values("nvscope_vms", "series") == {
                "own": 5,
                "other": room - used - 4,
            }
            many.release()
            assert many.wait(120) == 0
        assert exporter.scrape().sum("nvscope_map_entries", map="rows") == used
    lab_host.run("nvscope unload")
