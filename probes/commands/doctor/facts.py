"""What doctor looks at, read once: the checks that follow are pure functions of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nvscope.probes.commands.doctor.tracing import Tracing, read_tracing
from nvscope.probes.kernel import features, software
from nvscope.probes.kernel.features import Host, Roots
from nvscope.probes.vms import identity

# What the exporter cannot do without, and what only traces need; by the names of their packages.
OF_EXPORTER = ("prometheus-client", "psutil", "h11")
OF_INSTALLATION = ("pyroute2",)  # installed with the rest; nothing fails without it
OF_TRACES = ("numpy", "pyarrow")
PACKAGES = ("bcc", *OF_EXPORTER, *OF_INSTALLATION, *OF_TRACES)


@dataclass(frozen=True)
class Facts:
    """A host, and this process on it.

    pid_namespace, bcc_problem: "" or what is wrong, with the remedy; bpffs: it is mounted;
    packages: name -> version, "" where it is not installed.
    """

    host: Host
    tracing: Tracing
    root: bool
    pid_namespace: str
    bcc_problem: str
    bpffs: bool
    packages: Mapping[str, str]


def read_facts(roots: Roots | None = None, symbols: Iterable[str] = ()) -> Facts:
    """Ask the host. Takes a second where kallsyms is long; nothing is loaded or changed.

    symbols: functions that are of interest beside the catalog's.
    """
    roots = roots or Roots()
    host = features.read_host(roots)
    return Facts(
        host=host,
        tracing=read_tracing(roots, symbols),
        root=os.geteuid() == 0,
        pid_namespace=identity.pid_namespace_problem(roots.proc),
        bcc_problem=software.bcc_problem(),
        bpffs=_mounted(roots.proc / "self/mounts", "bpf"),
        packages={name: software.version(name) for name in PACKAGES},
    )


def _mounted(mounts: Path, kind: str) -> bool:
    """Whether a file system of this kind is mounted; proc(5): the third field."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.split()[2:3] == [kind] for line in lines)
