"""The agreement between the L1 payload (l1.S) and the program that drives it.

This is the one home of these numbers: payload.py hands every name of `assembler_symbols` to the
assembler, so l1.S contains none of them.

L1 reads its orders from, and writes its results to, a mailbox at an IPA that no memslot covers:
each access of it ends KVM_RUN with KVM_EXIT_MMIO. The write of STATUS completes an order.
"""

from __future__ import annotations

# Canonical IPAs, in bytes. The layout follows QEMU's hw/arm/virt.c; any other would do.
GIC_DIST_IPA = 0x0800_0000
GIC_REDIST_IPA = 0x080A_0000
MAILBOX_IPA = 0x0A00_0000
RAM_IPA = 0x4000_0000

PAYLOAD_BYTES = 4096  # L1's code, L2's code, L1's vectors: the first bytes of RAM's first page
L2_ENTRY_OFFSET = 0x600  # of L2's first instruction in the payload, in bytes
VECTORS_OFFSET = 0x800  # VBAR_EL2 is 2 KiB aligned (Arm ARM D24.2, VBAR_EL2)
# Nested IPA of the payload's page in every context: the last 64 KiB of the 36-bit space, which are
# aligned for each page size.
L2_CODE_NESTED_IPA = 0xF_FFFF_0000

# Mailbox registers, byte offsets, 8 bytes each. Orders, read by L1:
ORDER, ARG0, ARG1, ARG2, ARG3, ARG4 = 0x00, 0x08, 0x10, 0x18, 0x20, 0x28
# Results, written by L1; ESR, HPFAR and FAR only where the status is not STATUS_OK:
VALUE, SUM, DONE, ESR, HPFAR, FAR, STATUS = 0x40, 0x48, 0x50, 0x58, 0x60, 0x68, 0x70

# Orders and their arguments.
ORDER_L1_ACCESS = 1  # address, count, stride (bytes), first value, write (0 or 1)
ORDER_L2_ACCESS = 2  # the same, with nested IPAs
ORDER_CONTEXT = 3  # VTTBR_EL2, VTCR_EL2
ORDER_TLBI_VMALLS12E1IS = 4
ORDER_TLBI_IPAS2E1IS = 5  # the instruction's operand: the nested IPA >> 12
ORDER_TLBI_ALLE1IS = 6
ORDER_EL1_ACCESS = 7  # as ORDER_L1_ACCESS; L1's own EL1 does it, with L1's stage 2 off

STATUS_OK = 0  # done; of L2: it came back with hvc
STATUS_L2_ABORT = 1  # L2 came back with another exception, as a rule a stage-2 abort
STATUS_L1_EXCEPTION = 2  # L1 itself took an exception; FAR is ELR_EL2
STATUS_UNKNOWN_ORDER = 3

# HCR_EL2 (Arm ARM D24.2): VM=bit 0, FMO, IMO, AMO=3..5, TGE=27, RW=31, E2H=34.
HCR_L1 = (1 << 34) | (1 << 31) | (1 << 27)
# TGE is clear while L2 runs: with it set an exception return to EL1 is illegal.
HCR_L2 = (1 << 34) | (1 << 31) | (0b111 << 3) | 1
# The same with VM clear: EL1 then is L1's own, and its addresses are canonical IPAs.
HCR_EL1 = HCR_L2 & ~1
# SPSR_EL2: EL1h with D, A, I, F masked.
SPSR_L2 = 0x3C5
# ESR_ELx.EC of an HVC from AArch64 (Arm ARM, ESR_EL2).
EC_HVC64 = 0x16


def assembler_symbols() -> dict[str, int]:
    """All constants of this module, for the assembler's --defsym.

    >>> assembler_symbols()["VECTORS_OFFSET"]
    2048
    """
    return {name: value for name, value in globals().items() if name.isupper()}
