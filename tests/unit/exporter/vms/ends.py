"""What tests of ends of processes have in common."""

from __future__ import annotations

import threading

from nvscope.exporter.collector import VmCollector
from nvscope.probes.counts.snapshot import VmKey
from tests.unit.exporter.fakes import FakeSource, busy

WAIT_SECONDS = 20


def shown(collector: VmCollector, name: str, **labels: str) -> list[float]:
    samples = [s for family in collector.collect() for s in family.samples]
    return [s.value for s in samples if s.name == name and labels.items() <= s.labels.items()]


class NoticedSource(FakeSource):
    """Says when a VM's counts are dropped."""

    def __init__(self, key: VmKey) -> None:
        super().__init__(busy(key))
        self.dropped = threading.Event()

    def forget(self, vm: VmKey) -> None:
        super().forget(vm)
        self.dropped.set()
