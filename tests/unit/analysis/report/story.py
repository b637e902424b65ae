"""A small trace with one of everything that a report shows, and its figures worked out by hand."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import Reader, Writer, columns_of

KVM, MMU, VCPU, KSWAPD = 0xFFFF000000100000, 0xFFFF000000200000, 71, 40
PAGE, MS = 4096, 1_000_000
FULL = 1 << 48

ABOUT = About(
    kernel="7.3.4",
    arch="aarch64",
    revmap="maple",
    boot_id="b007",
    started_ns=0,
    started_unix_ns=1_700_000_000_000_000_000,
    probes={"s2_fault": "fentry user_mem_abort", "mmu_recycle": ""},
    recorder="nvscope 0.1.0",
)


class Story:
    """Rows, a millisecond apart."""

    def __init__(self) -> None:
        self.rows: list[Event] = []
        self.now = 0

    def add(self, kind: str, **values: Any) -> None:
        """One row of the VM."""
        self.now += MS
        common: dict[str, Any] = {"time_ns": self.now, "kvm": KVM, "pid": 70, "vm": "alpha"}
        self.rows.append(Event(kind, **(common | values)))

    def fault(self, nested: int, canonical: int, outcome: str = "stored", cost: int = 5000) -> None:
        """A shadow fault: the record, the map, the end."""
        where = {"tid": VCPU, "comm": "qemu", "mmu": MMU, "size": PAGE}
        where |= {"nested_ipa": nested, "canonical_ipa": canonical}
        self.add("record", detail=outcome, duration_ns=300, **where)
        self.add("map", **where)
        self.add("fault", duration_ns=cost, **where)

    def notifier(self, canonical: int, *unmaps: Mapping[str, Any], reason: str = "") -> None:
        """A notifier unmap of one page, and what it unmaps of the shadow MMU."""
        who = {"tid": KSWAPD, "comm": "kswapd0"}
        notifier = who | {"canonical_ipa": canonical, "size": PAGE}
        self.add("notifier_begin", **notifier)
        if reason:
            self.add("fallback", detail=reason, mmu=MMU, **who)
        for unmap in unmaps:
            whole = who | {"mmu": MMU, "detail": "notifier"} | unmap
            self.add("unmap_begin", **whole)
            self.add("unmap_end", duration_ns=MS, **whole)
        self.add("notifier_end", duration_ns=2 * MS, **notifier)


def story() -> list[Event]:
    """Four pages mapped; one taken by range and faulted back for 7 us; then all taken by a
    fallback, and two of them faulted back for 5 us each.
    """
    tale = Story()
    tale.add("fault", tid=VCPU, comm="qemu", canonical_ipa=0x40000000, duration_ns=2000)
    for page in range(4):
        tale.fault(0x80000000 + page * PAGE, 0x40000000 + page * PAGE)
    tale.notifier(0x40001000, {"nested_ipa": 0x80001000, "size": PAGE})
    tale.fault(0x80001000, 0x40001000, cost=7000)
    tale.fault(0x90000000, 0x40002000, "overlapped")
    tale.notifier(0x40002000, {"size": FULL, "full": True}, reason="unknown_ipa")
    tale.fault(0x80000000, 0x40000000)
    tale.fault(0x80002000, 0x40002000)
    tale.add("unmap_begin", tid=VCPU, mmu=MMU, size=1 << 30, detail="tlbi")
    tale.add("unmap_end", tid=VCPU, mmu=MMU, size=1 << 30, detail="tlbi", duration_ns=400)
    return tale.rows


def written(rows: Iterable[Event], about: About = ABOUT, *, ended: bool = True) -> bytes:
    """A trace file."""
    stream = io.BytesIO()
    writer = Writer(stream, about)
    writer.write(columns_of(rows))
    if ended:
        writer.close()
    return stream.getvalue()


def reader(rows: Iterable[Event], about: About = ABOUT, *, ended: bool = True) -> Reader:
    """A reader of such a file."""
    return Reader(io.BytesIO(written(rows, about, ended=ended)))
