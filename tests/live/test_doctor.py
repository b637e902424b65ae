"""What doctor foresees is what the exporter attaches; what it says of hosts that lack things."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nvscope.lab.host.vm import Lab
from tests.live.conftest import Observed

LACKS = 3
ATTACH_SECONDS = 300
EVERYWHERE = [
    *("lab-fentry", "lab-kprobe", "off-fentry", "stock-fentry", "stock-kprobe"),
    "tracking-fentry",
]
REVMAPS = {
    "lab": ("maple", False),
    "off": ("none", True),
    "stock": ("none", False),
    "tracking": ("tracking", False),
}
NOT_ROOT = "setpriv --reuid=65534 --clear-groups env HOME=/tmp"


def doctor(lab: Lab, options: str = "", *, within: str = "", status: int = 0) -> dict[str, Any]:
    """What it says as JSON. within: a command that runs it, with the rest as its arguments."""
    command = f"{within} nvscope doctor --json {options}"
    done = lab.run(command, check=False, timeout=ATTACH_SECONDS)
    assert (done.returncode, done.stderr) == (status, ""), done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["metrics"] == (status == 0)
    return said


def lacking(said: dict[str, Any]) -> dict[str, str]:
    """Name -> remedy of what is lacking."""
    return {c["name"]: c["remedy"] for c in said["checks"] if c["state"] == "lack"}


def attached(said: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (p["probe"], p["hook"], p["mechanism"]) for p in said["probes"] if p["for"] == "metrics"
    }


@pytest.mark.parametrize("observed", EVERYWHERE, indirect=True)
def test_what_is_foreseen_is_what_is_attached(
    observed: Observed, request: pytest.FixtureRequest
) -> None:
    said = doctor(observed.host, f"--strict --mechanism {observed.mechanism}")
    samples = observed.exporter.scrape().select("nvscope_probe_attached")
    assert {s.value for s in samples} == {1}
    assert attached(said) == {
        (s.labels["probe"], s.labels["hook"], s.labels["mechanism"]) for s in samples
    }
    host = said["host"]
    kind = request.node.callspec.params["observed"].split("-")[0]
    assert (host["revmap"], host["revmap_off"]) == REVMAPS[kind]
    assert (host["kvm_mode"], host["nv2"], host["arch"]) == ("nested", True, "aarch64")
    assert host["machine"] == {"kind": "emulated", "sign": "QEMU's TCG"}


def test_attaching_tells_the_same(lab_host: Lab) -> None:
    said = doctor(lab_host, "--attach")
    assert said["attached"]
    assert attached(said) == attached(doctor(lab_host))


def test_not_root(lab_host: Lab) -> None:
    said = doctor(lab_host, within=NOT_ROOT, status=LACKS)
    assert set(lacking(said)) == {"rights"}
    assert said["host"]["nv2"] is None
    # It may not read what ftrace can hook, and still knows by BTF and kallsyms.
    assert attached(said) == attached(doctor(lab_host))


def test_a_container(lab_host: Lab) -> None:
    hide = "mount -t tmpfs none /sys/kernel/btf"
    said = doctor(lab_host, within=f"unshare -m sh -c '{hide} && exec \"$@\"' sh", status=LACKS)
    assert set(lacking(said)) == {"BTF"}
    assert said["probes"] == []
    said = doctor(lab_host, within="unshare -p -f --mount-proc", status=LACKS)
    assert set(lacking(said)) == {"PID namespace"}


def test_a_host_without_nested_guests(host_without_nv: Lab) -> None:
    said = doctor(host_without_nv, status=LACKS)
    assert "kvm-arm.mode=nested" in lacking(said)["FEAT_NV2"]
    assert set(lacking(said)) == {"FEAT_NV2"}
    assert said["host"]["kvm_mode"] == "vhe"


def test_the_screen(lab_host: Lab) -> None:
    text = lab_host.run("nvscope doctor").stdout
    assert text.endswith("\nMetrics will flow: nvscope export\n")
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 40
