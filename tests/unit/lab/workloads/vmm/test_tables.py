"""The page tables that a workload reads of its own VM."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nvscope.lab.workloads.vmm import tables


def test_those_of_its_own_vm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_KVM", tmp_path)
    assert tables.shadow_tables() == {}
    pid = os.getpid()
    for folder in (f"{pid}-4", f"{pid}1-4"):
        nested = tmp_path / folder / "nested"
        nested.mkdir(parents=True)
        for number in (1, 0):
            (nested / f"nested_mmu{number}").write_text(f"{folder} {number}\n")
    assert tables.shadow_tables() == {
        "nested_mmu0": f"{pid}-4 0\n",
        "nested_mmu1": f"{pid}-4 1\n",
    }
