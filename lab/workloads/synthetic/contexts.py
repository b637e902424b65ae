"""L1's contexts: each has a stage 2 of its own, which L1 selects by VTTBR_EL2."""

from __future__ import annotations

from nvscope.lab.workloads.synthetic.layout import DATA_IPA, PAGE_BYTES, TABLES_IPA
from nvscope.lab.workloads.vmm import protocol
from nvscope.lab.workloads.vmm.stage2 import HOST, Memory, Stage2, TableMemory

_CONTEXTS = 255  # VMIDs of 8 bits, of which 0 is not used


class Contexts:
    """The stage 2 of each context, made with L2's code in it when first asked for.

    memory: the guest's, from RAM_IPA on.
    """

    def __init__(self, memory: Memory) -> None:
        self._tables = TableMemory(memory, protocol.RAM_IPA, TABLES_IPA, DATA_IPA, HOST)
        self._stage2: dict[int, Stage2] = {}

    def __getitem__(self, context: int) -> Stage2:
        if not 0 <= context < _CONTEXTS:
            raise ValueError(f"context {context}: 0 to {_CONTEXTS - 1} exist (8-bit VMIDs)")
        if context not in self._stage2:
            stage2 = self._stage2[context] = Stage2(self._tables)
            code = protocol.L2_CODE_NESTED_IPA
            stage2.map(code, protocol.RAM_IPA, PAGE_BYTES, writable=False, executable=True)
        return self._stage2[context]

    def vttbr(self, context: int) -> int:
        """What L1 writes to VTTBR_EL2."""
        return self[context].vttbr(vmid(context))


def vmid(context: int) -> int:
    """The VMID of a context."""
    return context + 1
