"""A module of BPF programs: compiled, attached, let go. The only file that knows bcc."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nvscope.probes.counts import stats
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import features, libbpf, perf, software
from nvscope.probes.points import sources
from nvscope.probes.points.modes import FENTRY, Mode
from nvscope.probes.points.programs import Program
from nvscope.probes.points.quiet import Quiet, first_useful_line
from nvscope.probes.points.sizes import VCPUS, Sizes


@dataclass
class Module:
    """What bcc has compiled, and what of it is attached; programs, links: name -> fd.

    vcpus: the fd of a map that bcc does not know of (bpf/vcpus.h).
    """

    bpf: Any
    vcpus: int
    programs: dict[str, int] = field(default_factory=dict)
    links: dict[str, int] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)  # of links, those that bcc does not know of
    iterator: int | None = None  # a link's fd: see stats.py

    def map(self, name: str) -> int:
        """The fd of a map."""
        fd: int = self.bpf[name.encode()].map_fd
        return fd

    def detach(self) -> None:
        """Take all programs from their functions, unless they are pinned; the maps stay.

        Ends before begins: an end whose begin was not seen would count as lost.
        """
        with Quiet():
            for name in list(self.bpf.kfunc_exit_fds):
                self.bpf.detach_kretfunc(name)
            for name in sorted(self.own, key=lambda name: not name.endswith("_exit")):
                os.close(self.own.pop(name))
            for name in list(self.bpf.kfunc_entry_fds):
                self.bpf.detach_kfunc(name)
            if self.iterator is not None:
                os.close(self.iterator)
                self.iterator = None

    def discard(self) -> None:
        """Detach all of it, and let it go."""
        self.detach()
        with Quiet():
            self.bpf.cleanup()
        os.close(self.vcpus)
        # bcc keeps every module until the process ends.
        atexit.unregister(self.bpf.cleanup)


def compiled(chosen: Sequence[Program], sizes: Sizes, mode: Mode, telling: stats.Telling) -> Module:
    flags = [*sources.compiler_flags(chosen, sizes, mode), *telling.flags]
    text = sources.source(chosen, telling.sources)
    vcpus = libbpf.create("vcpus", VCPUS, 1)
    flags.append(f"-DNV_VCPUS_FD={vcpus}")
    with Quiet() as quiet:
        try:
            return Module(_module_class()(text=text, cflags=flags), vcpus)
        except Exception as error:  # noqa: BLE001 (bcc raises nothing more precise)
            said = f"{quiet.text()}\n{error}"
    os.close(vcpus)
    raise LackError(f"bcc cannot compile the probes: {first_useful_line(said)}")


def _module_class() -> Any:
    if problem := software.bcc_problem():
        raise LackError(problem)
    # Read by bcc at each compilation. Headers of a kernel may be missing, in a place where bcc does
    # not look, or too new for its compiler; no program of ours needs any.
    os.environ["BCC_KERNEL_SOURCE"] = str(sources.HEADERS)
    import bcc

    class Module(bcc.BPF):  # type: ignore[misc]
        def _trace_autoload(self) -> None:
            """Attach nothing by itself: a program that fails must not take the others along."""

    return Module


def attach(module: Module, program: Program, host: features.Host) -> str:
    """Attach entry and exit; "" or the problem in one line.

    The entry goes first: a call that began before its exit was attached leaves a start time, and
    the programs know by the time of arming that it is not a loss. The other way round an exit
    without an entry could not be told from one.
    """
    by = _attach_fentry if program.mechanism == FENTRY else _attach_kprobe
    with Quiet() as quiet:
        try:
            if program.entry:
                by(module, program, program.entry, "entry")
            if program.exit:
                by(module, program, program.exit, "exit")
        except Exception as error:  # noqa: BLE001 (bcc raises nothing more precise)
            why = first_useful_line(f"{quiet.text()}\n{error}")
            return f"{program.mechanism} on {program.symbol}: {why}{_hint(why, host)}"
    return ""


def _attach_fentry(module: Module, program: Program, name: str, edge: str) -> None:
    bpf, key = module.bpf, name.encode()
    if edge == "entry":
        bpf.attach_kfunc(fn_name=key)
    else:
        bpf.attach_kretfunc(fn_name=key)
    links = bpf.kfunc_entry_fds if edge == "entry" else bpf.kfunc_exit_fds
    module.programs[f"{program.point}_{edge}"] = bpf.funcs[key].fd
    module.links[f"{program.point}_{edge}"] = links[key]


def _attach_kprobe(module: Module, program: Program, name: str, edge: str) -> None:
    """By a link of our own: what bcc attaches a kprobe by cannot be pinned."""
    fd = module.bpf.load_func(name.encode(), module.bpf.KPROBE).fd
    link = perf.attach_kprobe(program.symbol, fd, at_return=edge == "exit")
    module.programs[f"{program.point}_{edge}"] = fd
    module.links[f"{program.point}_{edge}"] = module.own[f"{program.point}_{edge}"] = link


def tell(module: Module, telling: stats.Telling) -> str:
    """Let readers of the pins be told of the programs; "", or why they are not."""
    if not telling.sources:
        return telling.problem
    with Quiet() as quiet:
        try:
            iterator = module.bpf.load_func(stats.PROGRAM, module.bpf.TRACING).fd
            module.iterator = stats.attach(iterator, module.map(stats.OURS), module.programs)
        except Exception as error:  # noqa: BLE001 (bcc raises nothing more precise)
            return first_useful_line(f"{quiet.text()}\n{error}")
    return ""


def _hint(why: str, host: features.Host) -> str:
    """What the libraries' words do not say."""
    if "524" in why:  # ENOTSUPP, which libc has no name for
        return " (the kernel does not let this function be traced so)"
    locked = host.lockdown in ("integrity", "confidentiality")
    return f" (kernel lockdown: {host.lockdown})" if locked else ""
