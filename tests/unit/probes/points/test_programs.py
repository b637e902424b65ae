"""What a kernel's type information allows for a point, and which values its program gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nvscope.probes.counts.snapshot import Attachment, Refusal
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points import sources
from nvscope.probes.points.catalog.points import BY_NAME, applicable
from nvscope.probes.points.modes import MECHANISMS, TRACES, Mode, Probing
from nvscope.probes.points.sizes import Sizes
from tests.unit.probes.kernel.btfs import Blob, kernel
from tests.unit.probes.points.plans import defines, plan_of


def test_values_behind_a_struct_parameter(file: Path) -> None:
    assert defines(plan_of("s2_fault", file)) == {
        "TYPED": "1",
        "VCPU_ARG": "0",
        "VCPU_AT": "0",
        "MMU_ARG": "-1",
        "MMU_AT": "-1",
        "WHOLE": "0",
        "RETURN": "1",
        "ENTRY": "kfunc__vmlinux__user_mem_abort",
        "EXIT": "kretfunc__vmlinux__user_mem_abort",
        "NV_OFFSET_ARCH_MMU": "8",
        "NV_OFFSET_KVM_ARCH": "16",
        "NV_OFFSET_KVM_PID": "12",
        "NV_OFFSET_MMU_PGT": "32",
        "NV_OFFSET_VCPU_KVM": "16",
        "NV_OFFSET_VCPU_MMU": "32",
    }


def test_the_same_values_as_parameters_of_an_older_kernel(tmp_path: Path) -> None:
    old = kernel(tmp_path / "btf", fault="parameters")
    found = defines(plan_of("s2_fault", old, mode=TRACES))
    assert (found["VCPU_ARG"], found["VCPU_AT"]) == ("0", "-1")
    assert (found["NESTED_ARG"], found["NESTED_AT"]) == ("2", "-1")
    assert found["RETURN"] == "3"


def test_the_mmu_in_use_where_the_kernel_tells_it(tmp_path: Path) -> None:
    found = defines(plan_of("s2_fault", kernel(tmp_path / "btf", fault="mmu")))
    assert (found["MMU_ARG"], found["MMU_AT"]) == ("0", "24")


def test_faults_where_their_function_was_inlined(tmp_path: Path) -> None:
    file = kernel(tmp_path / "btf", fault="inlined")
    plan = plan_of("s2_fault", file)
    chosen = plan.choices[0]
    assert (chosen.symbol, chosen.needs) == ("kvm_handle_guest_abort", ("s2_map", "s2_relax"))
    assert (defines(plan)["WHOLE"], defines(plan)["VCPU_AT"]) == ("1", "-1")
    assert plan.attachment().includes == "l1_walk"
    assert plan_of("s2_fault", file, mode=TRACES).choices[0].needs[-1] == "s2_walk"


def test_a_hook_of_the_catalog_by_its_name(file: Path) -> None:
    """Not with the values of another: what is looked for there is not in it."""
    plan = plan_of("s2_fault", file, symbol="kvm_handle_guest_abort")
    assert defines(plan)["WHOLE"] == "1"
    assert {choice.symbol for choice in plan.choices} == {"kvm_handle_guest_abort"}


@pytest.mark.parametrize(
    ("point", "symbol", "why"),
    [
        ("s2_fault", "user_mem_abort.isra.0", "may have changed its parameters"),
        ("s2_fault", "user_mem_abort.constprop.0", "may have changed its parameters"),
        ("s2_fault", "user_mem_abort.part.0.llvm.7", "may have changed its parameters"),
        ("s2_fault", "user_mem_abort.llvm.4711", ""),
        ("tlbi_all", "handle_alle1is.isra.0", ""),  # reads no parameter
        ("tlbi_all", "other.isra.0", "no function other"),
    ],
)
def test_symbols_that_a_compiler_has_renamed(point: str, symbol: str, why: str, file: Path) -> None:
    plan = plan_of(point, file, symbol=symbol)
    assert [(choice.mechanism, choice.symbol) for choice in plan.choices] == (
        [] if why else [("kprobe", symbol)]
    )
    assert plan.refused[0].mechanism == "fentry"
    assert why in plan.attachment().refused[-1].why


def test_a_kprobe_finds_the_result_in_the_first_register(file: Path) -> None:
    found = defines(plan_of("s2_fault", file, ("kprobe",)))
    assert (found["TYPED"], found["RETURN"]) == ("0", "0")
    assert (found["ENTRY"], found["EXIT"]) == ("s2_fault_entry", "s2_fault_exit")


def test_mechanisms_are_tried_in_the_order_given(file: Path) -> None:
    plan = plan_of("shadow_unmap", file, ("kprobe", "fentry"))
    assert [choice.mechanism for choice in plan.choices] == ["kprobe", "fentry"]
    assert plan.attachment() == Attachment("shadow_unmap", "kvm_stage2_unmap_range", "kprobe")


def test_a_missing_symbol_is_the_problem(file: Path) -> None:
    plan = plan_of("notifier_unmap", file, symbol="kvm_unmap_hva_range")
    why = "this kernel has no function kvm_unmap_hva_range"
    refused = tuple(Refusal("kvm_unmap_hva_range", mechanism, why) for mechanism in MECHANISMS)
    assert plan.attachment() == Attachment(
        "notifier_unmap", "kvm_unmap_hva_range", "", why, refused=refused
    )


def test_a_symbol_without_the_values_is_the_problem(file: Path) -> None:
    plan = plan_of("s2_fault", file, symbol="kvm_unmap_gfn_range")
    assert plan.problem == "kvm_unmap_gfn_range() has no parameter vcpu, nor a struct with one"


def test_a_missing_member_is_the_problem(tmp_path: Path) -> None:
    blob = Blob()
    u64 = blob.integer("unsigned long", 8)
    blob.function("kvm_unmap_gfn_range", u64, ("kvm", blob.pointer(blob.struct("kvm", 8))))
    plan = plan_of("notifier_unmap", blob.write(tmp_path / "btf"))
    assert plan.problem == "this kernel has no member userspace_pid of struct kvm (userspace_pid)"


def test_arguments_on_the_stack_are_beyond_a_kprobe(tmp_path: Path) -> None:
    blob = Blob()
    u64 = blob.integer("unsigned long", 8)
    kvm = blob.struct("kvm", 8, ("userspace_pid", u64, 0))
    many = [(f"a{i}", u64) for i in range(8)]
    blob.function("kvm_unmap_gfn_range", u64, *many, ("kvm", blob.pointer(kvm)))
    plan = plan_of("notifier_unmap", blob.write(tmp_path / "btf"))
    assert [choice.mechanism for choice in plan.choices] == ["fentry"]


def test_the_first_problem_is_kept(file: Path) -> None:
    plan = plan_of("notifier_unmap", file)
    plan.reject("fentry: refused")
    assert [refusal.mechanism for refusal in plan.attachment().refused] == ["fentry"]
    plan.reject("kprobe: refused")
    assert plan.attachment().problem == "fentry: refused"


def test_points_of_a_reverse_map_are_for_kernels_that_have_one() -> None:
    assert set(BY_NAME) - set(applicable("maple", trace=True)) == {
        "numa_scan",
        *(point.name for point in BY_NAME.values() if point.helper),
    }
    missing = set(applicable("maple")) - set(applicable("none"))
    assert missing == {"revmap_record", "revmap_broken", "revmap_fallback"}
    only_traced = set(applicable("none", trace=True)) - set(applicable("none"))
    assert only_traced == {"mmu_init", "shadow_map"}
    assert applicable("tracking") == applicable("none")


def test_a_tracking_kernel_has_the_points_whose_functions_are_known(tmp_path: Path) -> None:
    known = kernel(tmp_path / "known", revmap="tracking", prefix="kvm_guest_s2")
    other = kernel(tmp_path / "other", revmap="tracking")
    points = {file: applicable("tracking", has=Btf(file).has_function) for file in (known, other)}
    assert points == {known: applicable("maple"), other: applicable("none")}
    for point, function in (
        ("revmap_record", "kvm_guest_s2_track"),
        ("revmap_broken", "kvm_guest_s2_lose"),
        ("revmap_fallback", "kvm_guest_s2_fallback"),
    ):
        plan = plan_of(point, known, mode=TRACES)
        assert (plan.choices[0].symbol, plan.refused) == (function, ())


def test_what_tracking_says(tmp_path: Path) -> None:
    """It has no overlaps, skips nothing, and gives up for one reason, which it does not name."""
    file = kernel(tmp_path / "btf", revmap="tracking", prefix="kvm_guest_s2")
    found = defines(plan_of("revmap_record", file))
    outcomes = {n.removeprefix("NV_KERNEL_RECORD_"): v for n, v in found.items() if "KERNEL" in n}
    assert outcomes == {
        "STORED": "0",
        "UNCHANGED": "1",
        "OVERLAPPED": "-1",
        "FAILED": "2",
        "SKIPPED": "-1",
    }
    found = defines(plan_of("revmap_fallback", file, mode=TRACES))
    assert (found["GIVES_REASON"], found["MMU_ARG"]) == ("0", "0")
    assert "REASON_ARG" not in found


def test_what_a_record_returns_is_an_enum_of_the_kernel(maple: Path) -> None:
    found = defines(plan_of("revmap_record", maple))
    assert (found["MMU_ARG"], found["MMU_AT"], found["RETURN"]) == ("0", "-1", "4")
    outcomes = {n.removeprefix("NV_KERNEL_RECORD_"): v for n, v in found.items() if "KERNEL" in n}
    assert outcomes == {
        "STORED": "0",
        "UNCHANGED": "1",
        "OVERLAPPED": "2",
        "FAILED": "3",
        "SKIPPED": "4",
    }
    assert found["NV_OFFSET_MMU_BROKEN"] == "24"


def test_functions_of_another_patch_are_served_by_their_names(tmp_path: Path) -> None:
    other = kernel(tmp_path / "other", revmap="maple", prefix="s2_rmap")
    assert plan_of("revmap_record", other).problem == (
        "this kernel has no function kvm_nested_revmap_record"
    )
    found = defines(plan_of("revmap_record", other, symbol="s2_rmap_record"))
    assert found["MMU_ARG"] == "1"  # found by its type
    assert {v for n, v in found.items() if "KERNEL" in n} == {"-1"}  # says no outcome
    assert defines(plan_of("revmap_broken", other, symbol="s2_rmap_break"))["MMU_ARG"] == "0"
    assert plan_of("revmap_fallback", other).attachment().optional


def test_a_function_that_is_given_no_mmu_is_the_problem(maple: Path) -> None:
    plan = plan_of("revmap_record", maple, symbol="kvm_unmap_gfn_range")
    assert plan.problem == (
        "kvm_unmap_gfn_range() has no parameter that points to a struct kvm_s2_mmu"
    )


def test_a_member_that_not_all_kernels_have(file: Path, maple: Path) -> None:
    assert defines(plan_of("shadow_unmap", file))["NV_OFFSET_MMU_BROKEN"] == "-1"
    assert defines(plan_of("shadow_unmap", maple))["NV_OFFSET_MMU_BROKEN"] == "24"


def test_programs_of_a_point(maple: Path) -> None:
    def names(point: str) -> list[tuple[str | None, str | None]]:
        return [(program.entry, program.exit) for program in plan_of(point, maple).choices]

    symbol = "kvm_nested_revmap_record"
    assert names("revmap_record") == [
        (None, f"kretfunc__vmlinux__{symbol}"),  # fexit still finds the arguments
        ("revmap_record_entry", "revmap_record_exit"),
    ]
    assert names("vm_exit") == [
        ("kfunc__vmlinux__kvm_arch_destroy_vm", None),
        ("vm_exit_entry", None),
    ]


def test_a_trace_wants_more_of_a_point(maple: Path) -> None:
    found = defines(plan_of("revmap_record", maple, mode=TRACES))
    assert (found["NESTED_ARG"], found["CANONICAL_ARG"], found["SIZE_ARG"]) == ("1", "2", "3")
    assert found["ENTRY"] == "kfunc__vmlinux__kvm_nested_revmap_record"  # for its duration
    assert "NESTED_ARG" not in defines(plan_of("revmap_record", maple))
    flags = sources.compiler_flags([], Sizes(vms=1, ring_bytes=1 << 20), TRACES)
    assert {"-DNV_TRACE=1", f"-DNV_RING_PAGES={(1 << 20) // os.sysconf('SC_PAGESIZE')}"} <= {*flags}


def test_a_one_shot_probe_wants_more_of_a_point(maple: Path) -> None:
    quick = Mode(probing=Probing("revmap_record"))
    found = defines(plan_of("revmap_record", maple, mode=quick))
    assert found["ENTRY"] == "kfunc__vmlinux__kvm_nested_revmap_record"  # for its duration
    assert "NESTED_ARG" not in found
    slow = Mode(probing=Probing("revmap_record", threshold_ns=1000))
    assert defines(plan_of("revmap_record", maple, mode=slow))["NESTED_ARG"] == "1"
    asking = Mode(probing=Probing("notifier_unmap", triggers=True))
    found = defines(plan_of("notifier_unmap", maple, mode=asking))
    assert (found["NV_OFFSET_KVM_MM"], found["NV_OFFSET_TASK_MM"]) == ("0", "8")
    assert "NV_OFFSET_TASK_MM" not in defines(plan_of("notifier_unmap", maple))
