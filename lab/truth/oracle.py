"""An independent count of the same events, by ftrace: kprobe events with histogram triggers.

Runs in the lab host (`python3 -m nvscope.lab.truth.oracle start`, later `stop`, which prints JSON).
It shares no code with the probes and uses no BPF: the kernel itself finds arguments and members by
their names (CONFIG_PROBE_EVENTS_BTF_ARGS, Documentation/trace/kprobetrace.rst), so that one table
serves Linux 6.16 to 7.3.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
GROUP = "nvscope_oracle"

NOTIFIER = "kvm_unmap_gfn_range"

# What a shadow unmap ran within, by a function on its stack; the first that is found. A stack taken
# at a function's entry lacks the caller, which in recycling may be check_nested_vcpu_requests: then
# only KVM_RUN is left.
WITHIN = {
    NOTIFIER: "notifier",
    "kvm_s2_mmu_iterate_by_vmid": "tlbi",
    "handle_alle1is": "tlbi",
    "check_nested_vcpu_requests": "recycling",
    "kvm_arch_vcpu_ioctl_run": "recycling",
}

# tlb_vttbr of struct kvm_s2_mmu tells which MMU it is: a shadow one has L1's VTTBR_EL2, or bit 0
# set while it is invalid (kvm_init_nested_s2_mmu()); the canonical one's stays 0. L1 must set it
# even where it runs with its stage 2 off.
_IN_USE = "vttbr=s2fd->vcpu->arch.hw_mmu->tlb_vttbr"
_OF_TABLES = "vttbr=pgt->mmu->tlb_vttbr"
_CANONICAL, _SHADOW = " if vttbr == 0", " if vttbr != 0"

# Name -> (kprobe event, "r " before a return probe's, histogram keys).
EVENTS = {
    "notifier": (NOTIFIER, "common_pid"),
    # Linux 6.16 to 7.0 has this inlined.
    "canonical": (f"user_mem_abort {_IN_USE}", "common_pid"),
    "shadow": (f"user_mem_abort {_IN_USE}", "common_pid"),
    # Faults call one of the two, and once. Besides them only GICv2 maps (kvm_phys_addr_ioremap()).
    "canonical_map": (f"kvm_pgtable_stage2_map {_OF_TABLES}", "common_pid"),
    "shadow_map": (f"kvm_pgtable_stage2_map {_OF_TABLES}", "common_pid"),
    "canonical_relax": (f"kvm_pgtable_stage2_relax_perms {_OF_TABLES}", "common_pid"),
    "shadow_relax": (f"kvm_pgtable_stage2_relax_perms {_OF_TABLES}", "common_pid"),
    "unmap": ("kvm_stage2_unmap_range size=$arg3:u64", "common_pid,size"),
    # Memslot removal and a second KVM_ARM_VCPU_INIT unmap the canonical MMU by the same function.
    "shadow_unmap": (
        "kvm_stage2_unmap_range size=$arg3:u64 vttbr=mmu->tlb_vttbr",
        "common_pid,size,common_stacktrace",
    ),
    "reflected": ("kvm_inject_s2_fault", "common_pid"),
    # Of the reverse maps of the lab's kernels; others have no such functions.
    "record": ("r kvm_nested_revmap_record outcome=$retval:u32", "common_pid,outcome"),
    "fallback": ("kvm_nested_revmap_fallback reason=$arg2:u32", "common_pid,reason"),
    "broken": ("kvm_nested_revmap_break cause=$arg2:u32", "common_pid,cause"),
    "track": ("r kvm_guest_s2_track outcome=$retval:u32", "common_pid,outcome"),
    "track_fallback": ("kvm_guest_s2_fallback", "common_pid"),
}
_OF_REVMAPS = {"record", "fallback", "broken", "track", "track_fallback"}
MAY_LACK = frozenset({"canonical", "shadow", *_OF_REVMAPS})
FILTERS = {
    "canonical": _CANONICAL,
    "shadow": _SHADOW,
    "canonical_map": _CANONICAL,
    "shadow_map": _SHADOW,
    "canonical_relax": _CANONICAL,
    "shadow_relax": _SHADOW,
    "shadow_unmap": _SHADOW,
}

_HIST_LINE = re.compile(r"\{ (?P<keys>[^}]*)\} hitcount:\s+(?P<count>\d+)")
# A call that ends: in one line with its begin, or, after a change of CPU, on a line of its own.
_GRAPH_LINE = re.compile(r"(?P<us>\d+(\.\d+)?) us +\| +(\w+\(\);|\})")


def start() -> None:
    """Begin to count, from zero."""
    stop()
    if "<argname>" not in _text("README"):
        raise SystemExit("ftrace knows no arguments by name: it needs CONFIG_PROBE_EVENTS_BTF_ARGS")
    functions = _text("available_filter_functions").split()
    for name, (probe, keys) in EVENTS.items():
        kind, where = ("r", probe[2:]) if probe.startswith("r ") else ("p", probe)
        if name in MAY_LACK and where.split()[0] not in functions:
            continue
        _append("kprobe_events", f"{kind}:{GROUP}/{name} {where}")
        trigger = f"hist:keys={keys}:size=4096{FILTERS.get(name, '')}"
        _append(f"events/{GROUP}/{name}/trigger", trigger)


def stop() -> None:
    """End counting and remove the events."""
    if not (TRACEFS / "events" / GROUP).exists():
        return
    for name, (_, keys) in EVENTS.items():
        if (TRACEFS / "events" / GROUP / name).exists():
            trigger = f"!hist:keys={keys}:size=4096{FILTERS.get(name, '')}"
            _append(f"events/{GROUP}/{name}/trigger", trigger)
            _append("kprobe_events", f"-:{GROUP}/{name}")


def read() -> dict[str, dict[str, int]]:
    """Name of the event -> its key values -> count.

    Key values are e.g. "123", "123,281474976710656" or, of shadow_unmap, "123,4096,notifier" and
    "123,4096,tlbi". An event that this kernel cannot have is not there.
    """
    folder = TRACEFS / "events" / GROUP
    names = [name for name in EVENTS if (folder / name).exists()]
    return {name: parse_hist(_text(f"events/{GROUP}/{name}/hist")) for name in names}


# Prints all histograms, each behind its event's name: to read them from outside the guest, where
# starting Python takes seconds under emulation.
READ_COMMAND = (
    f"cd {TRACEFS}/events/{GROUP}"
    " && for hist in */hist; do echo == ${hist%/hist}; cat $hist; done"
)


def parse_all(text: str) -> dict[str, dict[str, int]]:
    """What READ_COMMAND printed, as `read` would return it.

    >>> parse_all("== notifier\\n{ pid: 7 } hitcount: 3\\n== broken\\n")
    {'notifier': {'7': 3}, 'broken': {}}
    """
    parts = (part.split("\n", 1) for part in f"\n{text}".split("\n== ")[1:])
    return {name.strip(): parse_hist("".join(hist)) for name, *hist in parts}


def parse_hist(text: str) -> dict[str, int]:
    """The rows of a histogram as ftrace prints it.

    >>> parse_hist("# event\\n{ common_pid:  77, size: 4096 } hitcount:   3\\n\\nTotals:\\n")
    {'77,4096': 3}

    Of a stack only this is kept: what the call was made within.

    >>> row = "{ pid: 77, common_stacktrace:\\n  unmap+0x0/0x8\\n  %s+0x7/0x8\\n} hitcount: 3\\n"
    >>> parse_hist(row % "kvm_unmap_gfn_range" + row % "handle_alle1is" + row % "kvm_set_memslot")
    {'77,notifier': 3, '77,tlbi': 3, '77,other': 3}
    """
    rows: dict[str, int] = {}
    for match in _HIST_LINE.finditer(text):
        key = ",".join(_value(field) for field in match["keys"].split(","))
        rows[key] = rows.get(key, 0) + int(match["count"])
    return rows


def _value(field: str) -> str:
    name, value = field.strip().split(":", 1)
    if name == "common_stacktrace":
        return next((word for name, word in WITHIN.items() if f" {name}+" in value), "other")
    return value.strip()


def graph_start(function: str) -> None:
    """Begin to trace the calls of one function with the function_graph tracer."""
    for name, value in (
        ("tracing_on", "0"),
        ("current_tracer", "nop"),
        ("set_ftrace_filter", function),
        ("current_tracer", "function_graph"),
        ("trace", ""),
        ("tracing_on", "1"),
    ):
        (TRACEFS / name).write_text(f"{value}\n" if value else "")


def graph_stop() -> list[float]:
    """End it: the durations of the calls, in seconds."""
    (TRACEFS / "tracing_on").write_text("0\n")
    durations = parse_graph(_text("trace"))
    (TRACEFS / "current_tracer").write_text("nop\n")
    (TRACEFS / "set_ftrace_filter").write_text("")
    (TRACEFS / "tracing_on").write_text("1\n")
    return durations


def parse_graph(text: str) -> list[float]:
    """The durations of the calls in function_graph's output, in seconds.

    >>> parse_graph(" 1) ! 250.5 us |  f();\\n 0)   |  f() {\\n 1) $ 1500000 us |  } /* f */")
    [0.0002505, 1.5]
    """
    return [float(match["us"]) / 1e6 for match in _GRAPH_LINE.finditer(text)]


def _append(name: str, line: str) -> None:
    # One write() of one line, as tracefs wants it.
    descriptor = os.open(TRACEFS / name, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _text(name: str) -> str:
    return (TRACEFS / name).read_text()


def main(command: str, *arguments: str) -> None:
    """start | stop | graph-start FUNCTION | graph-stop."""
    if command == "start":
        start()
    elif command == "stop":
        print(json.dumps(read()))
        stop()
    elif command == "graph-start":
        graph_start(*arguments)
    elif command == "graph-stop":
        print(json.dumps(graph_stop()))
    else:
        raise SystemExit(f"unknown command {command}")


if __name__ == "__main__":
    main(*sys.argv[1:])
