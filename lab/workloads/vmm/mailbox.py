"""L1 on one vCPU: orders go to it, and its results come back, over the mailbox of protocol.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nvscope.lab.workloads.vmm import protocol
from nvscope.lab.workloads.vmm.kvm import KvmError, Mmio, Vcpu

_WORD_BYTES = 8


class L2AbortError(RuntimeError):
    """L2 came back with a stage-2 abort, which KVM gave to L1.

    done: accesses before it; esr, hpfar, far: ESR_EL2, HPFAR_EL2 and FAR_EL2 as L1 saw them.
    """

    def __init__(self, done: int, esr: int, hpfar: int, far: int) -> None:
        super().__init__(f"L2 aborted after {done} accesses: ESR {esr:#x} HPFAR {hpfar:#x}")
        self.done, self.esr, self.hpfar, self.far = done, esr, hpfar, far

    @property
    def nested_ipa(self) -> int:
        """The page that L2 could not reach: HPFAR_EL2.FIPA, bits 43:4, is IPA[51:12].

        Bit 63 is no part of it: KVM marks a valid HPFAR with it (NS) and L1 sees the mark.
        """
        return ((self.hpfar >> 4) & ((1 << 40) - 1)) << 12


@dataclass(frozen=True)
class Accessed:
    """What an access order read or wrote: the last value, and the sum of all modulo 2**64."""

    value: int
    sum: int


class Hypervisor:
    """L1 as it runs on one vCPU. One thread at a time may give it orders.

    context: whose stage 2 it has selected there; NestedGuest.switch sets it.
    """

    def __init__(self, vcpu: Vcpu) -> None:
        self.context = 0
        self._vcpu = vcpu
        self._results: dict[int, int] = {}

    def order(self, *words: int) -> None:
        """Give an order (its number, then its arguments) and wait until L1 reports it as ended.

        Raises KvmError where L1 cannot go on; an abort of L2 is an end like any other.
        """
        self._results.clear()
        while protocol.STATUS not in self._results:
            self._serve(self._vcpu.run(), words)
        status = self._results[protocol.STATUS]
        if status not in (protocol.STATUS_OK, protocol.STATUS_L2_ABORT):
            esr, pc = self._results.get(protocol.ESR, 0), self._results.get(protocol.FAR, 0)
            raise KvmError(f"L1 gave up with status {status}: ESR {esr:#x} at {pc:#x}")

    @property
    def done(self) -> int:
        """How many accesses the last order did."""
        return self._results[protocol.DONE]

    def accessed(self) -> Accessed:
        """What the last order read or wrote. Raises L2AbortError where L2 was aborted."""
        if self._results[protocol.STATUS] == protocol.STATUS_L2_ABORT:
            esr, hpfar, far = (
                self._results[name] for name in (protocol.ESR, protocol.HPFAR, protocol.FAR)
            )
            raise L2AbortError(self.done, esr, hpfar, far)
        return Accessed(self._results[protocol.VALUE], self._results[protocol.SUM])

    def _serve(self, mmio: Mmio, words: Sequence[int]) -> None:
        register = mmio.ipa - protocol.MAILBOX_IPA
        if mmio.is_write and protocol.VALUE <= register <= protocol.STATUS:
            self._results[register] = mmio.data
        elif not mmio.is_write and protocol.ORDER <= register <= protocol.ARG4:
            index = register // _WORD_BYTES
            self._vcpu.answer(words[index] if index < len(words) else 0)
        else:
            raise KvmError(f"the guest accessed {mmio.ipa:#x}, where nothing is")
