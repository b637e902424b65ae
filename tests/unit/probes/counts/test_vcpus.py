"""Calls noted by vCPU: the programs' own code, compiled for this machine, by several threads."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nvscope.probes.counts import decode
from nvscope.probes.points.sizes import VCPUS_BYTES
from nvscope.probes.points.sources import SOURCES

CODE = Path(__file__).parent / "vcpus.c"
# All others are 0.
ONES = {"HAS_S2_FAULT", "HAS_VM_EXIT", "S2_FAULT_TYPED"}
HAS = {f"HAS_{name.upper()}" for name in decode.POINTS}
OFFSETS = {"OFFSET_VCPU_KVM", "OFFSET_KVM_PID"}
MODES = {"S2_FAULT_WHOLE", "TRACE", "THRESHOLD_NS", "PROBE", "VCPUS_FD", "PAGE_SHIFT"}


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_each_call_ends_where_it_began(tmp_path: Path) -> None:
    values = {name: int(name in ONES) for name in ONES | HAS | OFFSETS | MODES}
    values["VCPUS_BYTES"] = VCPUS_BYTES
    flags = [f"-DNV_{name}={value}" for name, value in values.items()]
    program = tmp_path / "vcpus"
    warnings = ["-Wall", "-Werror", "-Wno-unused"]
    include = f"-I{SOURCES}"
    subprocess.run(
        ["cc", "-O2", "-pthread", *warnings, include, *flags, "-o", program, CODE], check=True
    )
    done = subprocess.run([program], check=True, capture_output=True, text=True, timeout=60)
    found = {what: int(number) for what, number in map(str.split, done.stdout.splitlines())}
    assert found == {
        "duration": 30,
        "has_its_place": 1,
        "end_alone_is_missed_entry": 1,
        "begin_twice_is_missed_exit": 1,
        "duration_of_the_second": 50,
        "other_has_its_own": 1,
        "same_has_it_not": 0,
        "duration_of_same": 1,
        "duration_of_first": 2,
        "duration_of_other": 3,
        "kept_at_another_vms_end": 1,
        "given_back": 0,
        "duration_across": 4,
        "had_by_the_next": 1,
        "duration_there": 6,
        "missed_so_far": 2,
        "wrong_in_a_race": 0,
        "missed_in_a_race": 0,
    }
