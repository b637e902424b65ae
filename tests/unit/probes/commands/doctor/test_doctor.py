"""What doctor says of hosts of many kinds, and what it foresees."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import nvscope
from nvscope.probes.commands.doctor import cli, view
from nvscope.probes.commands.doctor.checks import Check, State
from nvscope.probes.commands.doctor.cli import DoctorOptions, diagnose
from nvscope.probes.commands.doctor.diagnosis import as_json
from nvscope.probes.commands.doctor.facts import Facts, read_facts
from nvscope.probes.counts.snapshot import Attachment
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import software
from nvscope.probes.points.modes import MECHANISMS
from tests.unit.probes.commands.doctor.host import FakeHost
from tests.unit.probes.commands.doctor.told import check, diagnosed, text_of

GOLDEN = Path(__file__).parent / "golden"


def test_a_good_host(host: FakeHost) -> None:
    found = diagnosed(host)
    assert found.metrics
    assert text_of(found) == (GOLDEN / "doctor-good.txt").read_text()
    assert {c.state for c in found.checks} == {State.OK}


def test_a_good_host_as_json(host: FakeHost) -> None:
    golden = (GOLDEN / "doctor-good.json").read_text()
    assert as_json(diagnosed(host)) == json.loads(golden) | {"version": nvscope.__version__}


def poor(host: FakeHost) -> Facts:
    """Emulated, old, in a container, without rights, and with half of what should be installed."""
    host.btf.unlink()
    host.write("sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "0x00000000000f0510\n")
    host.write("proc/self/status", "CapEff:\t0000004000000000\n")
    host.write("proc/self/mounts", "proc /proc proc rw 0 0\n")
    host.write("proc/cmdline", "ro\n")
    facts = host.facts(nv2=False)
    return replace(
        facts,
        root=False,
        pid_namespace="this is not the initial pid namespace; run on the host",
        bcc_problem=software.NO_BCC,
        packages=dict(facts.packages) | {"psutil": "", "numpy": ""},
    )


def test_a_poor_host(host: FakeHost) -> None:
    found = diagnosed(host, poor(host))
    assert not found.metrics
    assert text_of(found) == (GOLDEN / "doctor-poor.txt").read_text()


def test_text_fits_a_screen_and_has_no_colour_when_piped(host: FakeHost) -> None:
    text = text_of(diagnosed(host, poor(host))) + text_of(diagnosed(host))
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert len(text_of(diagnosed(host)).splitlines()) <= 40


def test_names_of_others_cannot_write_to_the_terminal(host: FakeHost) -> None:
    facts = host.facts(kernel="7\x1b[31m[red]x", name="a\nb\x1b]0;x")
    text = text_of(diagnosed(host, facts))
    assert "\x1b" not in text
    assert "[red]x" in text


@pytest.mark.parametrize(
    ("lack", "name", "words"),
    [
        ({"arch": "x86_64"}, "kernel", "nvscope lab"),
        ({"kvm": False}, "KVM mode", "CONFIG_KVM"),
        ({"kvm": False, "kvm_asked": "none"}, "KVM mode", "turned off by kvm-arm.mode=none"),
        ({"nv2": False}, "FEAT_NV2", "kvm-arm.mode=nested"),
        ({"capabilities": frozenset({"CAP_BPF"})}, "rights", "CAP_PERFMON"),
        ({"lockdown": "confidentiality"}, "lockdown", "lockdown=integrity"),
        ({"btf_problem": "libbpf is missing"}, "BTF", "libbpf is missing"),
    ],
)
def test_each_lack_has_its_remedy(
    host: FakeHost, lack: dict[str, object], name: str, words: str
) -> None:
    found = diagnosed(host, host.facts(**lack))
    assert check(found, name).state is State.LACK
    assert words in check(found, name).remedy
    assert not found.metrics
    assert name in view.verdict(found)


def test_what_is_nice_to_have_does_not_matter(host: FakeHost) -> None:
    facts = host.facts()
    packages = dict(facts.packages) | {"pyarrow": "", "pyroute2": ""}
    found = diagnosed(host, replace(facts, bpffs=False, packages=packages))
    assert found.metrics
    assert {c.name for c in found.checks if c.state is State.NOTE} == {
        "exporter",
        "traces",
        "bpffs",
    }
    assert "nvscope[trace]" in check(found, "traces").remedy


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"revmap": "maple"}, "maple"),
        ({"revmap": "none", "revmap_off": True}, "none: turned off on the kernel's command line"),
        ({"revmap": "none"}, "none: each notifier unmap takes every shadow stage 2 whole"),
        ({"revmap": "tracking"}, "tracking"),
        ({"revmap": "unknown"}, "not known, for want of BTF"),
        (
            {"revmap": "unknown", "strange_members": ("backrefs", "lost")},
            "not known: mainline's struct kvm_s2_mmu has no backrefs, lost (try --suggest)",
        ),
    ],
)
def test_reverse_maps(host: FakeHost, changes: dict[str, object], words: str) -> None:
    found = diagnosed(host, host.facts(**changes))
    assert check(found, "reverse map").value == words
    assert found.metrics


def test_another_bcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "another project" in software.bcc_problem()
    (tmp_path / "bcc/libbcc.py").touch()
    assert software.bcc_problem() == ""


def test_attaching_is_the_truth(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    real = (Attachment("notifier_unmap", "kvm_unmap_gfn_range", "kprobe"),)
    monkeypatch.setattr(cli, "_attach", lambda wanted: (real, []))
    found = diagnose(host.facts(), DoctorOptions(MECHANISMS, attach=True), host.roots)
    assert (found.attached, found.attachments, found.metrics) == (True, real, True)
    assert "attached now, and detached again" in text_of(found)
    failed = [Check("attach", "failed", State.LACK, "bcc cannot compile")]
    monkeypatch.setattr(cli, "_attach", lambda wanted: ((), failed))
    found = diagnose(host.facts(), DoctorOptions(MECHANISMS, attach=True), host.roots)
    assert not found.metrics
    assert "bcc cannot compile" in text_of(found)


def test_a_host_that_cannot_is_not_attached_to(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_attach", lambda wanted: pytest.fail("tried"))
    found = diagnose(host.facts(nv2=False), DoctorOptions(MECHANISMS, attach=True), host.roots)
    assert not found.attached


def test_the_command_on_this_machine() -> None:
    """Whatever it is: the exit code is that of the verdict, and nothing is raised."""
    done = CliRunner().invoke(cli.doctor, ["--json"])
    assert done.exit_code == (0 if json.loads(done.stdout)["metrics"] else LackError.exit_code)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert read_facts().host.kernel in CliRunner().invoke(cli.doctor, []).output
