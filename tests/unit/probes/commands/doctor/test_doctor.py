"""What doctor says of hosts of many kinds, and what it foresees."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

import nvscope
from nvscope.probes.commands.doctor import cli, view
from nvscope.probes.commands.doctor.checks import Check, State
from nvscope.probes.commands.doctor.cli import DoctorOptions, diagnose
from nvscope.probes.commands.doctor.diagnosis import Diagnosis, as_json
from nvscope.probes.commands.doctor.facts import Facts, read_facts
from nvscope.probes.commands.doctor.tracing import read_tracing
from nvscope.probes.counts.snapshot import Attachment, Refusal
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import software
from nvscope.probes.points.catalog.points import applicable
from nvscope.probes.points.modes import MECHANISMS
from tests.unit.probes.commands.doctor.host import SYMBOLS, FakeHost
from tests.unit.probes.kernel.btfs import kernel

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def diagnosed(host: FakeHost, facts: Facts | None = None, *, strict: bool = False) -> Diagnosis:
    return diagnose(facts or host.facts(), DoctorOptions(MECHANISMS, strict=strict), host.roots)


def text_of(found: Diagnosis) -> str:
    console = Console(width=view.WIDTH, highlight=False, force_terminal=False)
    with console.capture() as captured:
        view.show(found, console)
    return captured.get()


def check(found: Diagnosis, name: str) -> Check:
    return next(each for each in found.checks if each.name == name)


def attached(found: Diagnosis) -> dict[str, str]:
    return {a.point: f"{a.mechanism} {a.hook}" for a in found.attachments}


def refused(found: Diagnosis, point: str) -> list[Refusal]:
    return [r for a in found.attachments if a.point == point for r in a.refused]


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
    ],
)
def test_reverse_maps(host: FakeHost, changes: dict[str, object], words: str) -> None:
    found = diagnosed(host, host.facts(**changes))
    assert check(found, "reverse map").value == words
    assert found.metrics


def test_points_follow_the_reverse_map(tmp_path: Path) -> None:
    for kind in ("none", "maple", "tracking"):
        found = diagnosed(FakeHost(tmp_path / kind, kind))
        assert set(attached(found)) == set(applicable(kind, trace=True))
        assert {hook.split()[0] for hook in attached(found).values()} == {"fentry"}


def test_without_trampolines_all_points_are_kprobes(host: FakeHost) -> None:
    host.symbols(SYMBOLS | {"register_kprobe"})
    found = diagnosed(host)
    assert check(found, "fentry").state is State.NOTE
    assert {hook.split()[0] for hook in attached(found).values()} == {"kprobe"}
    (why,) = refused(found, "s2_fault")
    assert (why.mechanism, "DYNAMIC_FTRACE_WITH_DIRECT_CALLS" in why.why) == ("fentry", True)
    assert found.metrics


def test_what_ftrace_cannot_hook(host: FakeHost) -> None:
    host.traceable(SYMBOLS - {"user_mem_abort"})
    found = diagnosed(host)
    assert attached(found)["s2_fault"] == "kprobe user_mem_abort"
    assert "not in available_filter_functions" in " ".join(text_of(found).split())


def test_what_neither_can_hook(host: FakeHost) -> None:
    both = {"user_mem_abort", "kvm_handle_guest_abort"}
    host.traceable(SYMBOLS - both)
    host.blacklist(frozenset(both))
    found = diagnosed(host)
    assert [r.mechanism for r in refused(found, "s2_fault")] == ["fentry", "kprobe"] * 2
    assert "blacklisted for kprobes" in refused(found, "s2_fault")[1].why
    assert found.metrics
    assert view.verdict(found) == "Metrics will flow, without those of s2_fault: nvscope export"
    assert not diagnosed(host, strict=True).metrics


def test_a_function_that_was_inlined_gives_way_to_the_next_hook(host: FakeHost) -> None:
    host.symbols(SYMBOLS - {"kvm_stage2_unmap_range"} | {"ftrace_find_rec_direct"})
    found = diagnosed(host)
    # The second hook is not in the types of this test's kernel.
    why = refused(found, "shadow_unmap")
    assert [(r.hook, r.mechanism) for r in why] == [
        ("kvm_stage2_unmap_range", "fentry"),
        ("kvm_stage2_unmap_range", "kprobe"),
        ("__unmap_stage2_range", "fentry"),
        ("__unmap_stage2_range", "kprobe"),
    ]
    assert "in BTF and not in kallsyms" in why[0].why
    assert why[2].why == "this kernel has no function __unmap_stage2_range"


def test_another_symbol(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, prefix="s2_rmap")
    missing = {a.point for a in diagnosed(host).attachments if not a.mechanism}
    assert "revmap_record" in missing
    named = {"revmap_record": "s2_rmap_record", "s2_fault": "no_such_function"}
    host.symbols(SYMBOLS | {"s2_rmap_record", "ftrace_find_rec_direct", "register_kprobe"})
    host.traceable(SYMBOLS | {"s2_rmap_record"})
    wanted = DoctorOptions(MECHANISMS, symbols=named)
    found = diagnose(host.facts(symbols=named.values()), wanted, host.roots)
    assert attached(found)["revmap_record"] == "fentry s2_rmap_record"
    (fault,) = (a for a in found.attachments if a.point == "s2_fault")
    assert (fault.mechanism, fault.problem) == ("", "this kernel has no function no_such_function")
    assert "--symbol s2_fault=NAME" in text_of(found)


def test_kprobes_that_are_switched_off(host: FakeHost) -> None:
    host.write("sys/kernel/debug/kprobes/enabled", "0\n")
    host.traceable(SYMBOLS - {"user_mem_abort", "kvm_handle_guest_abort"})
    found = diagnosed(host)
    assert attached(found)["s2_fault"].startswith(" ")
    assert check(found, "kprobes").state is State.NOTE


def test_nothing_can_be_attached(host: FakeHost) -> None:
    host.symbols(frozenset({"start_kernel"}))
    found = diagnosed(host)
    assert not found.metrics
    assert view.verdict(found) == "No metrics here. Look at: the probe points"


def test_what_may_not_be_read_is_not_held_against_the_kernel(host: FakeHost) -> None:
    """Not root: tracefs and debugfs are closed."""
    for file in ("tracing/available_filter_functions", "debug/kprobes/blacklist"):
        (host.roots.sys / "kernel" / file).unlink()
    tracing = read_tracing(host.roots)
    assert (tracing.traceable, tracing.blacklisted) == (None, None)
    assert (tracing.fentry, tracing.kprobes) == (True, True)
    assert set(attached(diagnosed(host)).values()) >= {"fentry user_mem_abort"}
    (host.roots.proc / "kallsyms").unlink()
    assert check(diagnosed(host), "fentry").value == "not known"


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


def test_a_function_that_the_compiler_has_renamed(host: FakeHost) -> None:
    renamed = {"handle_alle1is.isra.0", "kvm_arch_destroy_vm.isra.0"}
    plain = {"handle_alle1is", "kvm_arch_destroy_vm"}
    host.symbols(SYMBOLS - plain | renamed | {"ftrace_find_rec_direct", "register_kprobe"})
    found = diagnosed(host)
    assert attached(found)["tlbi_all"] == "kprobe handle_alle1is.isra.0"
    assert attached(found)["vm_exit"].startswith(" ")
    assert "may have changed its parameters" in refused(found, "vm_exit")[-1].why


def test_faults_where_their_function_is_inlined(host: FakeHost) -> None:
    kernel(host.btf, fault="inlined")
    found = diagnosed(host)
    text = " ".join(text_of(found).split())
    assert attached(found)["s2_fault"] == "fentry kvm_handle_guest_abort"
    assert attached(found)["s2_map"] == "fentry kvm_pgtable_stage2_map"
    assert "durations include the walk of L1's stage 2" in text
    assert "s2_walk fentry kvm_walk_nested_s2 (for traces)" in text
    assert view.verdict(found) == "Metrics will flow: nvscope export"
