"""Which probe points doctor expects to be attached, and by what."""

from __future__ import annotations

from pathlib import Path

from nvscope.probes.commands.doctor import view
from nvscope.probes.commands.doctor.checks import State
from nvscope.probes.commands.doctor.cli import DoctorOptions, diagnose
from nvscope.probes.commands.doctor.tracing import read_tracing
from nvscope.probes.points.catalog.points import applicable
from nvscope.probes.points.modes import MECHANISMS
from tests.unit.probes.commands.doctor.host import SYMBOLS, FakeHost
from tests.unit.probes.commands.doctor.told import attached, check, diagnosed, refused, text_of
from tests.unit.probes.kernel.btfs import kernel


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
