"""A plan for each point, for what their hooks need, and for functions that a compiler renamed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.symbols import Kallsyms, Variants
from nvscope.probes.points.modes import TRACES
from nvscope.probes.points.planning import PlanRequest, Plans
from tests.unit.probes.kernel.btfs import kernel


def none(_: str) -> list[str]:
    """No function has another name."""
    return []


@pytest.fixture
def inlined(tmp_path: Path) -> Btf:
    return Btf(kernel(tmp_path / "btf", fault="inlined"))


def plans(btf: Btf, *points: str, variants: Variants = none, traces: bool = False) -> Plans:
    wanted = PlanRequest(points, mode=TRACES) if traces else PlanRequest(points)
    return Plans(wanted, btf, variants)


def chosen(made: Plans) -> dict[str, str]:
    return {p.point: f"{p.mechanism} {p.symbol}" for p in made.chosen()}


def test_what_a_hook_needs_comes_along(inlined: Btf) -> None:
    made = plans(inlined, "s2_fault", "notifier_unmap")
    assert chosen(made) == {
        "s2_fault": "fentry kvm_handle_guest_abort",
        "notifier_unmap": "fentry kvm_unmap_gfn_range",
        "s2_map": "fentry kvm_pgtable_stage2_map",
        "s2_relax": "fentry kvm_pgtable_stage2_relax_perms",
    }
    assert [a.point for a in made.attachments()] == list(chosen(made))
    assert made.complete


def test_what_no_hook_needs_stays_away(tmp_path: Path) -> None:
    made = plans(Btf(kernel(tmp_path / "btf")), "s2_fault")
    assert chosen(made) == {"s2_fault": "fentry user_mem_abort"}


def test_a_trace_needs_more(inlined: Btf) -> None:
    assert "s2_walk" in chosen(plans(inlined, "s2_fault", traces=True))
    assert "s2_walk" not in chosen(plans(inlined, "s2_fault"))


def test_what_is_needed_has_choices_of_its_own(inlined: Btf) -> None:
    made = plans(inlined, "s2_fault")
    made.chosen()
    made.reject("s2_map", "no fentry")
    assert chosen(made)["s2_map"] == "kprobe kvm_pgtable_stage2_map"
    assert chosen(made)["s2_fault"] == "fentry kvm_handle_guest_abort"


def test_a_hook_goes_with_what_it_needs(inlined: Btf) -> None:
    made = plans(inlined, "s2_fault", "notifier_unmap")
    for why in ("no fentry", "no kprobe"):
        made.chosen()
        made.reject("s2_map", why)
    assert chosen(made) == {"notifier_unmap": "fentry kvm_unmap_gfn_range"}
    (fault,) = (a for a in made.attachments() if a.point == "s2_fault")
    assert not fault.mechanism
    assert fault.refused[-1].why == "needs s2_map: no fentry"
    assert not made.complete


def test_a_needed_point_that_was_asked_for_is_one_plan(inlined: Btf) -> None:
    assert list(chosen(plans(inlined, "s2_map", "s2_fault"))) == ["s2_map", "s2_fault", "s2_relax"]


def test_a_needed_point_that_was_named_and_is_not_there(inlined: Btf) -> None:
    """Faults would all go uncounted: none of them would be marked."""
    made = Plans(PlanRequest(["s2_fault", "s2_map"], symbols={"s2_map": "no_such"}), inlined, none)
    assert chosen(made) == {}
    assert made.attachments()[0].refused[-1].why == (
        "needs s2_map: this kernel has no function no_such"
    )


def renamed(ending: str) -> Variants:
    return lambda function: [f"{function}.{ending}"]


def test_a_renamed_function_is_found_where_nothing_else_is_left(inlined: Btf) -> None:
    made = plans(inlined, "tlbi_all", variants=renamed("isra.0"))
    assert chosen(made) == {"tlbi_all": "fentry handle_alle1is"}
    for why in ("no fentry", "no kprobe"):
        made.reject("tlbi_all", why)
    assert chosen(made) == {"tlbi_all": "kprobe handle_alle1is.isra.0"}
    (attached,) = made.attachments()
    assert [r.why for r in attached.refused] == [
        "no fentry",
        "no kprobe",
        "fentry finds functions by the types' names, not handle_alle1is.isra.0",
    ]


@pytest.mark.parametrize(
    ("point", "ending", "why"),
    [
        ("notifier_unmap", "isra.0", "may have changed its parameters"),
        ("notifier_unmap", "constprop.0", "may have changed its parameters"),
        ("tlbi_all", "part.0", "is a part of the function"),
        ("tlbi_all", "cold", "is a part of the function"),
    ],
)
def test_a_renamed_function_that_will_not_do(
    inlined: Btf, point: str, ending: str, why: str
) -> None:
    made = plans(inlined, point, variants=renamed(ending))
    for _ in range(2):
        made.chosen()
        made.reject(point, "no")
    assert chosen(made) == {}
    (attached,) = made.attachments()
    assert why in attached.refused[-1].why


def test_llvm_renames_and_keeps_the_parameters(inlined: Btf) -> None:
    made = plans(inlined, "notifier_unmap", variants=renamed("llvm.123"))
    for _ in range(2):
        made.chosen()
        made.reject("notifier_unmap", "no")
    assert chosen(made) == {"notifier_unmap": "kprobe kvm_unmap_gfn_range.llvm.123"}


def test_kallsyms_is_read_once_and_only_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "kallsyms"
    symbols = Kallsyms(file)
    file.write_text("0 t f.isra.0\n0 T f\n0 t f.cold\t[module]\n0 t ff.isra.0\n")
    assert symbols("f") == ["f.isra.0"]
    file.unlink()
    assert symbols("ff") == ["ff.isra.0"]
    assert Kallsyms(file)("f") == []
