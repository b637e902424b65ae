"""What is told of programs: their runs, and those that the kernel skipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nvscope.probes.counts import decode, stats
from nvscope.probes.counts.counters import Counters
from nvscope.probes.counts.snapshot import Runs
from nvscope.probes.counts.stats import Stats
from nvscope.probes.kernel import libbpf
from nvscope.probes.kernel.btf import KERNEL_BTF, Btf
from nvscope.probes.kernel.symbols import Kallsyms
from nvscope.probes.points import sources
from nvscope.probes.points.sizes import Sizes
from tests.unit.probes.kernel.btfs import kernel
from tests.unit.probes.pins.fakes import FakeLoaded


def test_what_readers_are_told_of_programs(tmp_path: Path, loaded: FakeLoaded) -> None:
    pin = tmp_path / "stats"
    pin.write_bytes(b"".join(stats.RECORD.pack(*each) for each in ((3, 40, 1, 7), (9, 9, 9, 8))))
    told = stats.by_pin(pin, {"s2_fault_exit": 7, "tlbi_all_exit": 5})
    assert told() == {"s2_fault_exit": Stats(3, 40, 1)}
    counters = Counters(loaded.counters.maps, told, notifier_seen=True)
    snapshot = counters.snapshot()
    assert snapshot.lost[decode.RECURSION] == 1
    assert snapshot.runs == {"s2_fault_exit": Runs(3, 40)}
    pin.unlink()
    with pytest.raises(OSError, match="No such file"):
        counters.losses()


def test_where_nobody_tells_of_programs_no_loss_is_made_up(loaded: FakeLoaded) -> None:
    snapshot = loaded.counters.snapshot()
    assert decode.RECURSION not in snapshot.lost
    assert snapshot.runs == {}


def test_one_skipped_program_is_not_two_losses(loaded: FakeLoaded) -> None:
    """It is noticed at the task's next call; what else is missed is counted beside it."""
    skipped = {"s2_fault_exit": Stats(0, 0, 0)}
    counters = Counters(loaded.counters.maps, lambda: skipped, notifier_seen=True)
    of_exit = 2 * decode.POINTS.index("s2_fault") + decode.EDGES.index("exit")

    def lost(misses: int, noticed: int) -> dict[str, int]:
        skipped["s2_fault_exit"] = Stats(0, 0, misses)
        libbpf.write_array(loaded.counters.maps["missed"], of_exit, noticed)
        return {cause: count for cause, count in counters.losses().items() if count}

    assert lost(misses=2, noticed=0) == {"recursion": 2}
    assert lost(misses=2, noticed=2) == {"recursion": 2}
    assert lost(misses=2, noticed=3) == {"recursion": 2, "missed_exit": 1}
    # Not less than before: a counter that falls would be taken for a new start.
    assert lost(misses=3, noticed=3) == {"recursion": 3, "missed_exit": 1}


def test_where_the_kernel_has_what_is_told() -> None:
    """By its own types; each name that the program uses has a value."""
    if not KERNEL_BTF.exists():
        pytest.skip("this kernel has no types")
    told = stats.telling(Btf(), lambda symbol: {"__per_cpu_offset": 0xFFFF8000}[symbol])
    assert told.problem == ""
    assert "-DNV_PER_CPU_OFFSET=0xffff8000ULL" in told.flags
    flags = (*told.flags, *sources.compiler_flags([], Sizes(vms=1)))
    defined = {flag.removeprefix("-D").partition("=")[0] for flag in flags}
    used = set(re.findall(r"NV_(?:OFFSET_\w+|CPUS|PER_CPU_OFFSET)", stats.SOURCE.read_text()))
    assert used <= defined
    assert {flag.removeprefix("-D").partition("=")[0] for flag in told.flags} <= used


def test_where_the_kernel_does_not_tell(tmp_path: Path) -> None:
    file = Btf(kernel(tmp_path / "btf"))
    assert "does not tell where __per_cpu_offset is" in stats.telling(file, lambda _: 0).problem
    told = stats.telling(file, lambda _: 1)
    assert told.problem == "this kernel has no struct bpf_prog"
    assert told.sources == ()


def test_addresses_of_symbols(tmp_path: Path) -> None:
    file = tmp_path / "kallsyms"
    file.write_text("ffff8000816a D f\nffff8000816b D f.isra.0\nffff80007000 t f\t[module]\n")
    kallsyms = Kallsyms(file)
    assert kallsyms.address("f") == 0xFFFF8000816A
    assert kallsyms.address("g") == Kallsyms(tmp_path / "none").address("f") == 0
