"""A nested guest made to measure: every MMU notifier and every fault of it is ordered from here.

One VM. L1 is the payload of l1.S on each of its vCPUs; L2 is a loop of loads or stores in the same
page. `ledger` states what has been caused so far.
"""

from __future__ import annotations

import threading
import time
from typing import Self

from nvscope.lab.workloads.ledger.ledger import Context, Ledger, untranslated
from nvscope.lab.workloads.ledger.unknown import UnknownLedger
from nvscope.lab.workloads.synthetic.contexts import Contexts, vmid
from nvscope.lab.workloads.synthetic.data import DataMemory, strided
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES, DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.vmm import protocol
from nvscope.lab.workloads.vmm.kvm import REG_PC, KvmError, Vcpu, Vm, revmap_kind
from nvscope.lab.workloads.vmm.mailbox import Accessed, Hypervisor
from nvscope.lab.workloads.vmm.memory import address_of, populated
from nvscope.lab.workloads.vmm.stage2 import HOST


class NestedGuest:
    """The VM, booted and waiting for orders. A context manager.

    payload: what payload.build made; data_bytes: guest memory from DATA_IPA on (rounded up to
    blocks); huge: that memory is in huge pages; vcpus: how many run; late_vcpu: make another one,
    which waits for `initialise_late_vcpu`; unknown_map: expect only what holds whatever reverse
    map the kernel has. revmap: the kind of reverse map that this kernel has, see Ledger.
    take_back_ns: how long each take-back took, its system call included; l2_write_ns: each order to
    L2 to write, from the order to L1's report.

    Several threads may give orders and take pages back at once, each with a vCPU of its own. The
    ledger is told of each order when it is done: its counts are true where the order of orders
    makes no difference (parallel.py says when that is so).
    """

    def __init__(
        self,
        payload: bytes,
        *,
        data_bytes: int = BLOCK_BYTES,
        huge: bool = False,
        vcpus: int = 1,
        late_vcpu: bool = False,
        unknown_map: bool = False,
    ) -> None:
        if len(payload) != protocol.PAYLOAD_BYTES:
            raise ValueError(f"the payload has {len(payload)} bytes, not {protocol.PAYLOAD_BYTES}")
        blocks = 1 + -(-data_bytes // BLOCK_BYTES)  # the first one is not data
        whole = blocks * BLOCK_BYTES
        self._vm = Vm()
        self.shadow_ipa_bits = self._vm.ipa_limit_bits  # a full shadow unmap has 2**bits bytes
        self._memory = populated(whole, BLOCK_BYTES if huge else None)
        self._memory[: len(payload)] = payload
        self._data = DataMemory(self._memory)
        self.revmap = "none" if unknown_map else revmap_kind()
        self.take_back_ns: list[int] = []
        self.l2_write_ns: list[int] = []
        self.ledger: Ledger | UnknownLedger = (
            UnknownLedger(granule=HOST) if unknown_map else Ledger(revmap=self.revmap, granule=HOST)
        )
        self.ledger.populate(protocol.RAM_IPA, whole)
        if huge:
            self.ledger.populate_huge(DATA_IPA, whole - BLOCK_BYTES)
        self._contexts = Contexts(self._memory)
        self._telling = threading.Lock()  # the ledger
        try:
            self._boot(vcpus, late_vcpu)
        except BaseException:
            self.close()
            raise

    def _boot(self, vcpus: int, late_vcpu: bool) -> None:
        self._vm.set_memory(protocol.RAM_IPA, address_of(self._memory), len(self._memory))
        running = [self._vm.create_vcpu() for _ in range(vcpus)]
        for vcpu in running:  # before there is another: shadow MMUs are made for all there are
            vcpu.initialise()
        for _ in running[1:]:
            self.ledger.add_vcpu()
        self._late_vcpu: Vcpu | None = self._vm.create_vcpu() if late_vcpu else None
        self._vm.create_gic(protocol.GIC_DIST_IPA, protocol.GIC_REDIST_IPA)
        self._hypervisors = [Hypervisor(vcpu) for vcpu in running]
        for number, vcpu in enumerate(running):
            vcpu.set_register(REG_PC, protocol.RAM_IPA)
            self.ledger.l1_access(protocol.RAM_IPA)  # L1's first instruction
            self.switch(0, vcpu=number)

    # ---- L1's stage 2

    def map(
        self,
        nested_ipa: int,
        canonical_ipa: int,
        size: int,
        context: int = 0,
        *,
        writable: bool = True,
    ) -> None:
        """L1 maps size bytes of a context (0..254); see stage2.Stage2.map. No TLBI is done."""
        self._data.check(canonical_ipa, size)
        self._contexts[context].map(nested_ipa, canonical_ipa, size, writable=writable)

    def unmap(self, nested_ipa: int, size: int, context: int = 0) -> None:
        """L1 makes size bytes of a context invalid. No TLBI is done."""
        self._contexts[context].unmap(nested_ipa, size)

    def canonical_ipa(self, nested_ipa: int) -> int:
        """Where the current context's stage 2 leads. Raises LookupError where it leads nowhere."""
        translation = self._contexts[self._hypervisors[0].context].walk(nested_ipa)
        if translation is None:
            raise LookupError(f"L1 does not map nested IPA {nested_ipa:#x}")
        return translation.canonical_ipa

    def switch(self, context: int, *, vcpu: int = 0) -> None:
        """L1 sets VTTBR_EL2 and VTCR_EL2 of a vCPU; KVM looks only when L2 runs there next."""
        vttbr, hypervisor = self._contexts.vttbr(context), self._hypervisors[vcpu]
        hypervisor.order(protocol.ORDER_CONTEXT, vttbr, HOST.vtcr)
        hypervisor.context = context

    def tlbi_context(self, *, vcpu: int = 0) -> None:
        """L1 does TLBI VMALLS12E1IS: all of the vCPU's current context."""
        hypervisor = self._hypervisors[vcpu]
        hypervisor.order(protocol.ORDER_TLBI_VMALLS12E1IS)
        with self._telling:
            self.ledger.tlbi_vmid(vmid(hypervisor.context))

    def tlbi_page(self, nested_ipa: int, *, vcpu: int = 0) -> None:
        """L1 does TLBI IPAS2E1IS of an address of the current context, with no level hint."""
        hypervisor = self._hypervisors[vcpu]
        hypervisor.order(protocol.ORDER_TLBI_IPAS2E1IS, nested_ipa >> 12)
        with self._telling:
            self.ledger.tlbi_ipa(vmid(hypervisor.context), nested_ipa)

    def tlbi_all(self) -> None:
        """L1 does TLBI ALLE1IS: all contexts."""
        self._hypervisors[0].order(protocol.ORDER_TLBI_ALLE1IS)
        self.ledger.tlbi_all()

    # ---- accesses; all of 64-bit words, aligned

    def l2_write(
        self,
        nested_ipa: int,
        value: int,
        count: int = 1,
        stride: int = PAGE_BYTES,
        *,
        vcpu: int = 0,
    ) -> Accessed:
        """L2 writes value, value + 1, ... to count words, stride bytes apart, in one run.

        Raises L2AbortError where L1's stage 2 does not allow it.
        """
        return self._l2_access(nested_ipa, count, stride, value, write=True, vcpu=vcpu)

    def l2_read(
        self, nested_ipa: int, count: int = 1, stride: int = PAGE_BYTES, *, vcpu: int = 0
    ) -> Accessed:
        """L2 reads count words, stride bytes apart, in one run. Raises L2AbortError."""
        return self._l2_access(nested_ipa, count, stride, 0, write=False, vcpu=vcpu)

    def el1_write(
        self, canonical_ipa: int, value: int, count: int = 1, stride: int = PAGE_BYTES
    ) -> Accessed:
        """L1's own EL1 writes, with L1's stage 2 off and the current context's VMID.

        KVM uses a shadow MMU for it, which maps canonical IPAs to themselves.
        """
        return self._el1_access(canonical_ipa, count, stride, value, write=True)

    def el1_read(self, canonical_ipa: int, count: int = 1, stride: int = PAGE_BYTES) -> Accessed:
        """L1's own EL1 reads, as in el1_write."""
        return self._el1_access(canonical_ipa, count, stride, 0, write=False)

    def l1_write(
        self,
        canonical_ipa: int,
        value: int,
        count: int = 1,
        stride: int = PAGE_BYTES,
        *,
        vcpu: int = 0,
    ) -> Accessed:
        """L1 itself writes value, value + 1, ... to count words of its memory."""
        return self._l1_access(canonical_ipa, count, stride, value, write=True, vcpu=vcpu)

    def l1_read(
        self, canonical_ipa: int, count: int = 1, stride: int = PAGE_BYTES, *, vcpu: int = 0
    ) -> Accessed:
        """L1 itself reads count words of its memory."""
        return self._l1_access(canonical_ipa, count, stride, 0, write=False, vcpu=vcpu)

    def host_read(self, canonical_ipa: int) -> int:
        """The host program reads a word of guest memory."""
        self._data.check(canonical_ipa)
        self.ledger.host_read(canonical_ipa)
        return self._data.read(canonical_ipa)

    def host_write(self, canonical_ipa: int, value: int) -> None:
        """The host program writes a word of guest memory."""
        self._data.check(canonical_ipa)
        self.ledger.host_write(canonical_ipa)
        self._data.write(canonical_ipa, value)

    def take_back(self, canonical_ipa: int, size: int = PAGE_BYTES) -> None:
        """The host takes pages from the guest: one madvise(MADV_DONTNEED), one MMU notifier."""
        begun_ns = time.perf_counter_ns()
        self.take_back_unheard(canonical_ipa, size)
        self.take_back_ns.append(time.perf_counter_ns() - begun_ns)
        with self._telling:
            self.ledger.take_back(canonical_ipa, size)

    def take_back_unheard(self, canonical_ipa: int, size: int = PAGE_BYTES) -> None:
        """The same, and the ledger is not told: its counts are of no use from then on.

        May be called from another thread while L1 or L2 runs.
        """
        self._data.take_back(canonical_ipa, size)

    # ---- life

    def initialise_late_vcpu(self) -> None:
        """KVM_ARM_VCPU_INIT of the other vCPU, once: the VM then has twice as many shadow MMUs.

        Linux 6.16 to 7.1 keeps them in one array, which that moves. The vCPU never runs.
        """
        assert self._late_vcpu
        self._late_vcpu.initialise()
        self._late_vcpu = None
        self.ledger.add_vcpu()

    def close(self) -> None:
        """Destroy the VM; may be called twice."""
        self._vm.close()
        self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- orders

    def _l2_access(
        self, nested_ipa: int, count: int, stride: int, value: int, *, write: bool, vcpu: int
    ) -> Accessed:
        hypervisor = self._hypervisors[vcpu]
        walk = self._contexts[hypervisor.context].walk
        view = Context(self._contexts.vttbr(hypervisor.context), walk, protocol.L2_CODE_NESTED_IPA)
        words = (nested_ipa, count, stride, value, int(write))
        begun_ns = time.perf_counter_ns()
        hypervisor.order(protocol.ORDER_L2_ACCESS, *words)
        if write:
            self.l2_write_ns.append(time.perf_counter_ns() - begun_ns)
        return self._ran(hypervisor, view, strided(nested_ipa, count, stride), write=write)

    def _el1_access(
        self, canonical_ipa: int, count: int, stride: int, value: int, *, write: bool
    ) -> Accessed:
        addresses = self._data.words(canonical_ipa, count, stride)
        hypervisor = self._hypervisors[0]
        vttbr = self._contexts.vttbr(hypervisor.context)
        view = Context(vttbr, untranslated, protocol.RAM_IPA, stage2_on=False)
        words = (canonical_ipa, count, stride, value, int(write))
        hypervisor.order(protocol.ORDER_EL1_ACCESS, *words)
        return self._ran(hypervisor, view, addresses, write=write)

    def _ran(
        self, hypervisor: Hypervisor, view: Context, addresses: range | list[int], *, write: bool
    ) -> Accessed:
        """Hold what L1 reports against what the ledger expects. Raises L2AbortError."""
        with self._telling:
            expected = self.ledger.l2_run(view, addresses, write=write)
        if hypervisor.done != expected:
            raise KvmError(
                f"{hypervisor.done} accesses were done from {addresses[0]:#x} on, not {expected}"
            )
        return hypervisor.accessed()

    def _l1_access(
        self, canonical_ipa: int, count: int, stride: int, value: int, *, write: bool, vcpu: int
    ) -> Accessed:
        addresses = self._data.words(canonical_ipa, count, stride)
        hypervisor = self._hypervisors[vcpu]
        words = (canonical_ipa, count, stride, value, int(write))
        hypervisor.order(protocol.ORDER_L1_ACCESS, *words)
        with self._telling:
            for address in addresses:
                self.ledger.l1_access(address, write=write)
        return hypervisor.accessed()
