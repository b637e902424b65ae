"""Builds KVM's own selftests from the kernel's source, as static programs for the guest.

From the source as it is, without the lab's patches: they are witnesses that nobody here wrote.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nvscope.lab.kernel import tools
from nvscope.lab.kernel.source import SourceTree
from nvscope.lab.setup import steps, store
from nvscope.probes.errors import LackError

# As tools/testing/selftests/kvm/Makefile.kvm of the source names them.
TARGETS = (
    "arm64/hello_el2",
    "demand_paging_test",
    "dirty_log_test",
    "kvm_page_table_test",
    "memslot_modification_stress_test",
)
NEEDED_BYTES = 3 << 30  # 1.8 GiB of source, as measured, and what is made of it


def key(source: SourceTree) -> str:
    """The cache key: whatever changes the programs changes it."""
    compiler = tools.versions(f"{tools.cross()}gcc")
    return store.digest(source.identity, Path(__file__), Path(tools.__file__), *compiler)


def build(source: SourceTree) -> Path:
    """The folder with the programs and nothing else; built if it is not in the cache."""
    name = key(source)
    if store.path_of("selftests", name).is_dir():
        steps.cached("KVM selftests")
        return store.path_of("selftests", name)
    tools.require_disk(NEEDED_BYTES, "building the KVM selftests")
    with steps.step("KVM selftests") as tell:
        return store.artifact("selftests", name, lambda folder: _make(folder, source, tell))


def _make(folder: Path, source: SourceTree, tell: steps.Tell) -> None:
    work = folder / "work"
    work.mkdir()
    tell("unpacking the source")
    tree = source.unpack(work)
    tell("headers")
    # Not headers_install: that wants rsync.
    tools.run(tools.make(tree, "headers"), work, "making the kernel's headers")
    tell("compiling")
    tools.run(arguments(tree, work / "out"), work, "building the KVM selftests")
    for target in TARGETS:
        program = work / "out" / target
        if not program.is_file():
            raise LackError(f"this source built no KVM selftest {target}: give another one")
        shutil.move(program, folder / program.name)
    shutil.rmtree(work)


def arguments(tree: Path, output: Path) -> list[str]:
    """The make that builds our targets alone: others do not build with every compiler."""
    return tools.make(
        tree / "tools/testing/selftests/kvm",
        f"-j{os.cpu_count()}",
        f"KHDR_INCLUDES=-isystem {tree / 'usr/include'}",
        "LDFLAGS=-static",
        f"OUTPUT={output}",
        f"TEST_GEN_PROGS_arm64={' '.join(TARGETS)}",
    )
