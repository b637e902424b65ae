"""A small recording as ftrace, trace-cmd and perf print it, made from one list of events."""

from __future__ import annotations

from dataclasses import dataclass

KVM, ARCH_AT = 0xFFFF000000100000, 2480
ARCH = KVM + ARCH_AT
MMU = 0xFFFF000000200000
VTCR_48 = 64 - 48
FULL = 1 << 48
HEADER = (
    '# nvscope: {"kernel": "7.3.4", "arch": "aarch64", "revmap": "maple", "probes":'
    ' {"notifier_unmap": "kprobe kvm_unmap_gfn_range"}, "words": {"kvm_revmap_record":'
    ' {"0": "stored", "2": "overlapped"}, "kvm_revmap_fallback": {"1": "unknown_ipa"}},'
    f' "offsets": {{"arch": {ARCH_AT}, "canonical": 0}}, "boot_id": "b007"}}\n'
)


@dataclass(frozen=True)
class Line:
    """One event."""

    comm: str
    tid: int
    cpu: int
    time_us: int
    event: str
    values: str = ""


def _mmu(mmu: int = MMU) -> str:
    return f"mmu={mmu:#x} arch={ARCH:#x}"


def events() -> list[Line]:
    """A VM with a shadow MMU: one page mapped, taken by range, mapped twice, all taken."""
    vcpu, kswapd = ("CPU 0/KVM", 71, 1), ("kswapd0", 40, 0)
    lines: list[Line] = []

    def add(who: tuple[str, int, int], event: str, values: str = "") -> None:
        lines.append(Line(*who, 1_000_000 + 10 * len(lines), event, values))

    def fault(nested: int, canonical: int, outcome: int) -> None:
        add(
            vcpu,
            "fault_begin",
            f"kvm={KVM:#x} pid=70 mmu={MMU:#x} ipa={nested:#x} nested=0xffff01"
            f" output={canonical | 0x10:#x}",
        )
        add(
            vcpu,
            "record_begin",
            f"{_mmu()} nested={nested:#x} canonical={canonical:#x} size=0x1000",
        )
        add(vcpu, "record_end", f"result={outcome}")
        add(vcpu, "map_begin", f"{_mmu()} addr={nested:#x} size=0x1000")
        add(vcpu, "map_end", "result=0")
        add(vcpu, "fault_end", "result=0")

    def notifier(gfn: int, start: int, size: int, reason: int | None = None) -> None:
        add(
            kswapd,
            "notifier_begin",
            f"kvm={KVM:#x} pid=70 start={gfn:#x} end={gfn + 1:#x} may_block=1",
        )
        # The canonical MMU's own unmap: no row.
        add(kswapd, "unmap_begin", f"{_mmu(ARCH)} start={gfn << 12:#x} size=0x1000 vtcr=0x10")
        add(kswapd, "unmap_end")
        if reason is not None:
            add(kswapd, "fallback", f"{_mmu()} reason={reason}")
        add(
            kswapd,
            "unmap_begin",
            f"{_mmu()} start={start:#x} size={size:#x} vtcr={VTCR_48:#x}",
        )
        add(kswapd, "unmap_end")
        add(kswapd, "notifier_end")

    add(vcpu, "mmu_init", f"kvm={KVM:#x} pid=0 mmu={ARCH:#x}")
    add(vcpu, "mmu_init", f"kvm={KVM:#x} pid=70 mmu={MMU:#x}")
    add(
        vcpu,
        "fault_begin",
        f"kvm={KVM:#x} pid=70 mmu={ARCH:#x} ipa=0x40000000 nested=0x0 output=(fault)",
    )
    add(vcpu, "map_begin", f"{_mmu(ARCH)} addr=0x40000000 size=0x1000")
    add(vcpu, "map_end", "result=0")
    add(vcpu, "fault_end", "result=0")
    fault(0x80000000, 0x40000000, 0)
    notifier(0x40000, 0x80000000, 0x1000)
    fault(0x80000000, 0x40000000, 0)
    fault(0x90000000, 0x40000000, 2)
    notifier(0x40000, 0, FULL, reason=1)
    add(vcpu, "mmu_free", _mmu())
    add(vcpu, "vm_exit", f"kvm={KVM:#x} pid=70")
    return lines


# Rows that these events become.
KINDS = [
    *("mmu_init", "mmu_init", "fault"),
    *("record", "map", "fault"),
    *("notifier_begin", "unmap_begin", "unmap_end", "notifier_end"),
    *("record", "map", "fault") * 2,
    *("notifier_begin", "fallback", "unmap_begin", "unmap_end", "notifier_end"),
    *("mmu_free", "vm_exit"),
]


def _back(line: Line) -> str:
    function = {"record": "kvm_nested_revmap_record"}.get(line.event.split("_")[0], "f")
    return f" <- {function}" if line.event.endswith("_end") else ""


def ftrace(lines: list[Line]) -> str:
    """`cat trace`."""
    head = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 9/9   #P:2\n#\n"
    return head + "".join(
        f"{each.comm:>16}-{each.tid:<7} [{each.cpu:03}] d..1. {each.time_us // 10**6:5}."
        f"{each.time_us % 10**6:06}: {each.event}: (f+0x0/0x80{_back(each)}) {each.values}\n"
        for each in lines
    )


def trace_cmd(lines: list[Line]) -> str:
    """`trace-cmd report -t`."""
    return "cpus=2\n" + "".join(
        f"{each.comm:>16}-{each.tid:<5} [{each.cpu:03}] {each.time_us // 10**6:5}."
        f"{each.time_us % 10**6:06}000: {each.event + ':':<20} (ffff800080012340) {each.values}\n"
        for each in lines
    )


def perf(lines: list[Line]) -> str:
    """`perf script --ns`."""
    return "".join(
        f"{each.comm:>16} {each.tid:5} [{each.cpu:03}] {each.time_us // 10**6:5}."
        f"{each.time_us % 10**6:06}000: {'nv:' + each.event:>20}: (ffff800080012340)"
        f" {each.values}\n"
        for each in lines
    )


TOOLS = {"ftrace": ftrace, "trace_cmd": trace_cmd, "perf": perf}
