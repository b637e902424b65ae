"""A host as folders that look like its /proc, /sys and /dev, for doctor's tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from nvscope.probes.commands.doctor.facts import Facts, read_facts
from nvscope.probes.kernel.features import Roots
from nvscope.probes.points.catalog.points import PROBE_POINTS
from tests.unit.probes.kernel.btfs import kernel

KERNEL = "7.3.4-test"
SYMBOLS = frozenset(hook.symbol for point in PROBE_POINTS for hook in point.hooks)
PACKAGES = {
    "bcc": "0.31.0",
    "prometheus-client": "0.21.1",
    "psutil": "7.0.0",
    "pyroute2": "0.7.7",
    "h11": "0.16.0",
    "numpy": "2.5.5",
    "pyarrow": "26.0.1",
}


class FakeHost:
    """A good host with a reverse map; a test then takes away what it is about."""

    def __init__(
        self, root: Path, revmap: str = "maple", prefix: str = "kvm_nested_revmap"
    ) -> None:
        self.roots = Roots(root / "proc", root / "sys", root / "dev")
        self.btf = root / "sys/kernel/btf/vmlinux"
        self.btf.parent.mkdir(parents=True)
        kernel(self.btf, revmap=revmap, prefix=prefix)
        self.write("proc/sys/kernel/osrelease", f"{KERNEL}\n")
        self.write("proc/sys/kernel/hostname", "db7\n")
        self.write("proc/cmdline", "ro kvm-arm.mode=nested\n")
        self.write("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n")
        self.write("proc/self/mounts", "bpf /sys/fs/bpf bpf rw 0 0\n")
        self.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
        self.write("sys/class/dmi/id/product_name", "Mt. Jade\n")
        self.write("dev/kvm", "")
        self.symbols(SYMBOLS | {"ftrace_find_rec_direct", "register_kprobe"})
        self.traceable(SYMBOLS)
        self.blacklist(frozenset())

    def symbols(self, names: frozenset[str]) -> None:
        """What is in kallsyms."""
        lines = [f"ffff800080052730 t {name}\n" for name in sorted(names)]
        self.write("proc/kallsyms", "".join([*lines, "ffff800080052730 t f\t[module]\n"]))

    def traceable(self, names: frozenset[str]) -> None:
        """What ftrace can hook."""
        lines = [f"{name}\n" for name in sorted(names)]
        self.write("sys/kernel/tracing/available_filter_functions", "".join(["g [m]\n", *lines]))

    def blacklist(self, names: frozenset[str]) -> None:
        """What kprobes must not."""
        lines = [f"0xffff800080016538-0xffff800080016548\t{name}\n" for name in sorted(names)]
        self.write("sys/kernel/debug/kprobes/blacklist", "".join(["0x1-0x2\tg\n", *lines]))

    def write(self, path: str, text: str) -> None:
        file = self.roots.proc.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def facts(self, symbols: Iterable[str] = (), **host: object) -> Facts:
        """What doctor reads here, and what no folder can pretend: the CPU, KVM, packages."""
        found = read_facts(self.roots, symbols)
        changed = {"arch": "aarch64", "nv2": True, **host}
        return replace(
            found,
            host=replace(found.host, **changed),  # type: ignore[arg-type]
            root=True,
            pid_namespace="",
            bcc_problem="",
            packages=PACKAGES,
        )
