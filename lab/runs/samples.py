"""Small traces of what can happen, recorded in the lab: analysis/samples has the last ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab import assets
from nvscope.lab.host.services import Linux, Recording, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.setup.steps import step
from nvscope.lab.workloads.cases.bugs import BUGS

FACTS_SECONDS = 600.0


@dataclass(frozen=True)
class Sample:
    """A trace to record. name: the file's, below the folder; kernel: as for assets.prepare,
    its reverse map on where it has one.
    """

    name: str
    kernel: str
    play: Callable[[Lab], None]


def _synthetic(name: str, *options: str, script: str = "main") -> Callable[[Lab], None]:
    def play(host: Lab) -> None:
        with Synthetic(host, name, *options, hold=False, script=script) as guest:
            guest.facts(FACTS_SECONDS)
            guest.wait()

    return play


def _case(name: str) -> Callable[[Lab], None]:
    return _synthetic(name, name, script="case")


def _linux(host: Lab) -> None:
    with Linux(host, "linux") as guest:
        while guest.event(FACTS_SECONDS)["event"] != "done":
            pass


_KERNELS = {"maple": "lab", "tracking": "tracking"}
SAMPLES = (
    Sample("revmap", "lab", _synthetic("synthetic", "--unmaps", "23", "--pages", "64")),
    Sample("fallback-overlap", "lab", _case("pollution")),
    Sample("fallback-failure", "lab", _case("broken-at-record")),
    Sample("recycling", "lab", _case("recycling")),
    Sample("linux", "lab", _linux),
    Sample("tracking", "tracking", _case("pollution")),
    *(
        Sample(f"bugs/{name}", _KERNELS[bug.revmap], _synthetic(name, name, script="bug"))
        for name, bug in BUGS.items()
    ),
    # A full unmap takes 20 s on Debian's kernel: few will do.
    Sample("stock", "stock", _synthetic("synthetic", "--unmaps", "2", "--pages", "16")),
)


def record(folder: Path) -> list[Path]:
    """Record all samples into a folder; the files."""
    made = []
    for kernel in dict.fromkeys(sample.kernel for sample in SAMPLES):
        cpus = 1 if kernel == "stock" else 2
        with assets.prepare(kernel).boot(cpus=cpus) as host:
            host.wait_ready()
            for sample in SAMPLES:
                if sample.kernel == kernel:
                    made.append(_record(host, sample, folder))
    return made


def _record(host: Lab, sample: Sample, folder: Path) -> Path:
    path = folder / f"{sample.name}.arrows"
    path.parent.mkdir(parents=True, exist_ok=True)
    with step(f"trace {path.name}"), Recording(host, "--strict") as recording:
        sample.play(host)
        path.write_bytes(recording.finish())
    return path
