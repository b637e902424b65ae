"""Attach probe points, and read what they see: how commands and exporter get at the probes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Self

from nvscope.probes.counts import pools, stats
from nvscope.probes.counts.counters import MAPS, WRITTEN, Counters
from nvscope.probes.counts.snapshot import Attachment, Snapshot, VmKey, notifier_seen
from nvscope.probes.errors import LackError, notice
from nvscope.probes.kernel import features, libbpf
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.symbols import Kallsyms
from nvscope.probes.points import mapmemory
from nvscope.probes.points import module as modules
from nvscope.probes.points.catalog.points import BY_NAME, applicable
from nvscope.probes.points.modes import MECHANISMS, Mode, Probing
from nvscope.probes.points.module import Module
from nvscope.probes.points.planning import PlanRequest, Plans
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import PointsFile
from nvscope.probes.points.sizes import DEFAULT_MAX_VMS, Sizes, capacity

NEVER_NS = (1 << 64) - 1  # later than all of CLOCK_MONOTONIC


class Loaded:
    """Attached programs and their counters. Use it as a context manager, or call close().

    All methods may be called from any thread. armed_ns: when all was attached, CLOCK_MONOTONIC;
    counters: for who keeps them beyond this process; links: name -> fd of what attaches a program;
    programs: name -> the kernel's id; iterator: fd of what tells readers of them (stats.py), None
    where none was asked for or `untold` says why there is none.
    """

    def __init__(
        self,
        module: Module,
        attachments: Sequence[Attachment],
        mode: Mode,
        host: features.Host,
        untold: str = "",
    ) -> None:
        self.attachments = tuple(attachments)
        self.host = host
        self.links = dict(module.links)
        self._module: Module | None = module
        self._mode = mode
        self._lock = threading.Lock()
        maps = {name: module.map(name) for name in (*MAPS, *WRITTEN)}
        told = stats.by_descriptors(dict(module.programs))
        self.counters = Counters(maps, told, notifier_seen(attachments))
        self.programs = {name: libbpf.program_id(fd) for name, fd in module.programs.items()}
        self.iterator, self.untold = module.iterator, untold
        self.armed_ns = libbpf.read_array(module.map("armed"), 1)[0]
        self._ring = libbpf.Ring(module.map("events")) if mode.events else None

    def snapshot(self) -> Snapshot:
        """All counters now. Raises RuntimeError after close()."""
        with self._lock:
            self._open_module()
            return self.counters.snapshot()

    def drain(self) -> tuple[bytes, dict[str, int]]:
        """The events since the last call, in order: struct nv_event each of a trace, struct nv_slow
        of a one-shot probe; then what was lost so far, by cause: what was lost since the last call
        comes after all that it gave.

        Raises RuntimeError after close(), or where no events were asked for.
        """
        with self._lock:
            if self._module is None or self._ring is None:
                raise RuntimeError("there are no events to read")
            return self._ring.drain(), self.counters.losses()

    def symbol(self, address: int) -> str:
        """A kernel address as "function+0x1c". Raises RuntimeError after close()."""
        with self._lock:
            name: bytes = self._open_module().bpf.ksym(address, show_offset=True)
            return name.decode(errors="replace")

    def forget(self, vm: VmKey) -> None:
        """Delete the rows of a VM that is gone. A VM that goes on gets new ones, from zero."""
        with self._lock:
            if self._module is not None:
                self.counters.forget(vm)

    def detach(self) -> None:
        """See no more calls; all that was seen can still be read. May be called twice."""
        with self._lock:
            if self._module is not None:
                # From now on no call's end is ours to miss.
                libbpf.write_array(self._module.map("armed"), 0, NEVER_NS)
                self._module.detach()

    def close(self) -> None:
        """Detach everything that is not pinned; may be called twice."""
        with self._lock:
            module, self._module = self._module, None
            if self._ring is not None:
                self._ring.close()
                self._ring = None
            self.counters.close()
            if module is not None:
                module.discard()

    def _open_module(self) -> Module:
        if self._module is None:
            raise RuntimeError("the probes are closed")
        return self._module

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(
    points: Sequence[str] | None = None,
    *,
    mechanisms: Sequence[str] = MECHANISMS,
    symbols: Mapping[str, str] | None = None,
    strict: bool = False,
    max_vms: int = DEFAULT_MAX_VMS,
    ring_bytes: int = 0,
    probing: Probing | None = None,
    for_readers: bool = False,
    points_file: PointsFile | None = None,
) -> Loaded:
    """Attach probe points, each by the first hook and mechanism that works.

    points: default all that make sense with this kernel's reverse map, and those in symbols.
    symbols: point -> the function to hook instead of the catalog's. max_vms: VMs that can have
    counters. ring_bytes: record a trace as well, through a ring buffer of so many bytes (a power of
    two times the page size). probing: attach for a one-shot probe, whose slow calls go through that
    buffer in place of a trace. for_readers: tell others of the programs (stats.py), where that can
    be had. points_file: functions to try before the catalog's; without `points`, its points are
    attached in any case. Takes a second or so: bcc compiles; stdout and stderr are set aside
    meanwhile. Raises LackError when the host cannot be traced, lacks what points_file names, or has
    no room for so many VMs' maps, when nothing can be attached or, with `strict`, when a point
    cannot; ValueError for an unknown point.
    """
    symbols = symbols or {}
    unknown = [name for name in (*(points or ()), *symbols) if name not in BY_NAME]
    if unknown:
        raise ValueError(f"no probe point {unknown[0]}; there are {', '.join(BY_NAME)}")
    host = check.applied(points_file, features.read_host())
    features.require_tracing(host)
    mode = Mode(trace=ring_bytes > 0 and probing is None, probing=probing)
    sizes = Sizes(max_vms, ring_bytes)
    mapmemory.require(sizes)
    btf = Btf()
    kind = check.kind(points_file, btf)
    found = applicable(kind, trace=mode.trace, has=btf.has_function)
    default = [*found, *check.counted(points_file, mode)]
    names = dict.fromkeys(default if points is None else points) | dict.fromkeys(symbols)
    kallsyms = Kallsyms()
    catalog = points_file.catalog() if points_file else BY_NAME
    wanted = PlanRequest(list(names), mechanisms, symbols, mode, catalog)
    check.require(points_file, btf, wanted)
    plans = Plans(wanted, btf, kallsyms)
    telling = stats.telling(btf, kallsyms.address) if for_readers else stats.NOTHING
    module = _attach_best(plans, sizes, mode, host, strict, telling)
    attachments = plans.attachments()
    if module is None:
        failed = [f"{a.point}: {a.problem}" for a in attachments if not a.mechanism]
        raise LackError("; ".join(failed) or "no probe points asked for")
    for line in check.passed_over(points_file, attachments):
        if strict:
            module.discard()
            raise LackError(line)
        notice(line)
    return Loaded(module, attachments, mode, host, modules.tell(module, telling))


def _attach_best(
    plans: Plans,
    sizes: Sizes,
    mode: Mode,
    host: features.Host,
    strict: bool,
    telling: stats.Telling,
) -> Module | None:
    """A module with all that attaches (strict: with all), or None. The plans then say what it is.

    One module for all points, for most of bcc's time goes by whatever their number; what fails to
    attach is replaced by its next choice, and all is compiled again.
    """
    while chosen := plans.chosen():
        if strict and not plans.complete:
            return None
        module = modules.compiled(chosen, sizes, mode, telling)
        stacks = {pool.stack: module.map(pool.stack) for pool in pools.POOLS}
        pools.fill(stacks, capacity(sizes))
        problems = {program.point: modules.attach(module, program, host) for program in chosen}
        if not any(problems.values()):
            libbpf.write_array(module.map("armed"), 0, time.monotonic_ns())
            return module
        module.discard()
        for point, problem in problems.items():
            if problem:
                plans.reject(point, problem)
    return None
