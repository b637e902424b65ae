"""`nvscope storm` on a nested guest: notifiers as it says, and no data lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nvscope.lab.host.services import GuestProcess, Synthetic
from nvscope.lab.host.vm import Lab
from tests.live.conftest import Observed
from tests.live.counts import UNMAPS

PAGES = 512
GROUP = "/sys/fs/cgroup/storm"
ON = "python3 -c 'from nvscope.lab.workloads.interference import reclaim; reclaim.swap_on_zram()'"
OFF = "swapoff /dev/zram0; echo 1 > /sys/block/zram0/reset"
GUEST = (
    "python3 -m nvscope.lab.workloads.main --payload /mnt/artifacts/l1.bin"
    f" -name stormy --unmaps 0 --pages {PAGES} --hold"
)


def storm(lab: Lab, options: str) -> dict[str, Any]:
    """What it says at its end."""
    said: dict[str, Any] = json.loads(lab.run(f"nvscope storm --yes --json {options}").stdout)
    return said


@pytest.fixture
def grouped(observed: Observed) -> Iterator[GuestProcess]:
    """A nested guest in a cgroup of its own from the start: memory stays where it was charged."""
    lab = observed.host
    lab.run(f"{ON}; echo +memory > /sys/fs/cgroup/cgroup.subtree_control; mkdir {GROUP}")
    with GuestProcess(lab, f"bash -c 'echo $$ > {GROUP}/cgroup.procs; exec {GUEST}'") as guest:
        yield guest
    lab.run(f"{OFF}; rmdir {GROUP}")


@pytest.mark.parametrize("observed", ["lab-fentry"], indirect=True)
def test_pages_are_taken_and_nothing_is_lost(observed: Observed, grouped: GuestProcess) -> None:
    lab, exporter, _ = observed

    def unmaps() -> float:
        return exporter.scrape().sum(f"{UNMAPS}_count", vm="stormy")

    pid = json.loads(grouped.line(120))["pid"]
    before = unmaps()
    said = storm(lab, "--vm stormy --rate 20 --pages 8 --duration 5s --seed 7")
    assert (said["pid"], said["errors"], said["vm_ended"]) == (pid, {}, False)
    assert said["pages"] > 100
    # Nobody touches the guest meanwhile: each page that went was one notifier.
    assert unmaps() - before == said["pages"]

    before = unmaps()
    said = storm(lab, f"--vm {pid} --way reclaim --pages 512 --duration 4s --rate 5")
    # The kernel chooses, and takes much of the VMM's own first: all there is was asked for.
    assert 0 < unmaps() - before <= said["pages"]

    # L2 reads all its pages again; the guest fails where one has changed.
    grouped.release()
    assert grouped.wait(120) == 0


def test_refusals(lab_host: Lab) -> None:
    for options, status, words in (
        ("--vm none", 3, "no VM is running"),
        ("--vm none --way magic", 2, "magic"),
    ):
        done = lab_host.run(f"nvscope storm --yes {options}", check=False)
        assert (done.returncode, words in done.stderr) == (status, True), done.stderr
        assert "Traceback" not in done.stderr
    with Synthetic(lab_host, "twin") as one, Synthetic(lab_host, "twin") as other:
        facts = [one.facts(120), other.facts(120)]
        done = lab_host.run("nvscope storm --yes --vm twin", check=False)
        assert done.returncode == 2
        assert all(str(said["pid"]) in done.stderr for said in facts)
        done = lab_host.run("nvscope storm --yes --vm other", check=False)
        assert (done.returncode, "there are twin" in done.stderr) == (2, True)
        done = lab_host.run(f"nvscope storm --vm {facts[0]['pid']} --way ksm", check=False)
        assert (done.returncode, "mem-merge=on" in done.stderr) == (3, True)
        done = lab_host.run(f"nvscope storm --vm {facts[0]['pid']} </dev/null", check=False)
        assert "Traceback" not in done.stderr
