"""Makes what the documentation has from the code: `.venv/bin/python docs/make.py`.

A table stands between two marks, `<!-- NAME: … -->` and `<!-- end of NAME -->`. The notebook is
run, and keeps what its cells put out.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.reloads import Reloads
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.settings.config import WebConfig
from nvscope.probes.counts.snapshot import (
    SLOTS,
    Attachment,
    Durations,
    NotifierUnmaps,
    RevmapRecords,
    Room,
    Runs,
    S2Faults,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)
from nvscope.probes.traces.events import DETAILS, KINDS

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE / "notebook.ipynb"
_CELL_SECONDS = 300  # the first one imports pyarrow and pandas, on a busy machine


@dataclass(frozen=True)
class _Host:
    kernel: str = ""
    nv2: bool | None = True
    revmap: str = "maple"


class _Example:
    """A host with one VM, this process, that has done something of everything."""

    attachments = (Attachment("notifier_unmap", "kvm_unmap_gfn_range", "fentry"),)
    host = _Host()

    def snapshot(self) -> Snapshot:
        vm, once = VmKey(1, os.getpid()), Durations(1, 1, (1, *[0] * (SLOTS - 1)))
        return Snapshot(
            (NotifierUnmaps(vm, once),),
            (S2Faults(vm, "shadow", "ok", once, refault=True),),
            (ShadowUnmaps(vm, "full", "notifier", 4096, once, "broken"),),
            (RevmapRecords(vm, "stored", once),),
            {vm: 1},
            {"vm_full": 0},
            {"rows": Room(1, 2)},
            {"s2_fault_entry": Runs(1, 1)},
        )

    def forget(self, vm: VmKey) -> None:
        """Nothing is kept."""


def metrics() -> str:
    """Name, type, labels and help text of each family that the exporter serves."""
    registry = CollectorRegistry()
    registry.register(VmCollector(_Example()))
    context = click.Context(click.Command("export"))
    registry.register(Reloads(context, HERE, Authentication(WebConfig())))
    lines = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for family in registry.collect():
        labels = {name: None for sample in family.samples for name in sample.labels if name != "le"}
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        shown = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def kinds() -> str:
    """Kinds of events in a trace, and the words that `detail` can have."""
    lines = ["| kind | meaning | `detail` |", "| --- | --- | --- |"]
    for kind, meaning in KINDS.items():
        words = ", ".join(f"`{word}`" for word in DETAILS.get(kind, ()))
        lines.append(f"| `{kind}` | {meaning} | {words} |")
    return "\n".join(lines) + "\n"


# File -> mark -> what makes the table.
TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "metrics.md": {"metrics": metrics},
    "traces.md": {"kinds": kinds},
}


def made(text: str, tables: dict[str, Callable[[], str]]) -> str:
    """The text with its tables as they are now. Raises ValueError where a mark is missing."""
    for name, table in tables.items():
        old = re.findall(rf"<!-- {name}: [^\n]*\n(.*?)<!-- end of {name} -->\n", text, re.DOTALL)
        if len(old) != 1:
            raise ValueError(f"the marks of {name} are not there once")
        begin = text.index("\n", text.index(f"<!-- {name}: ")) + 1
        text = text[:begin] + table() + text[begin + len(old[0]) :]
    return text


def executed(text: str) -> str:
    """The notebook with its outputs as they are now. Raises nbclient's CellExecutionError."""
    # Imported here: the tables need none of it.
    import nbformat
    from nbclient import NotebookClient
    from traitlets.config import Config

    notebook = nbformat.reads(text, as_version=4)
    with tempfile.TemporaryDirectory(prefix="nvscope-") as folder:
        # Nothing of the user's own Jupyter; and over Unix sockets, not ports.
        os.environ["IPYTHONDIR"] = folder
        kernel = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
        NotebookClient(
            notebook,
            config=Config({"KernelManager": kernel}),
            kernel_name="python3",
            timeout=_CELL_SECONDS,
            record_timing=False,
            resources={"metadata": {"path": str(HERE)}},
        ).execute()
    # Nothing of the machine that it ran on.
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return f"{nbformat.writes(notebook).rstrip()}\n"


if __name__ == "__main__":
    for file, tables in TABLES.items():
        path = HERE / file
        path.write_text(made(path.read_text(), tables))
    NOTEBOOK.write_text(executed(NOTEBOOK.read_text()))
