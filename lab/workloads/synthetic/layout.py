"""Where a nested guest's memory begins, and its units."""

from __future__ import annotations

from nvscope.lab.workloads.vmm import protocol
from nvscope.lab.workloads.vmm.stage2 import HOST

PAGE_BYTES, BLOCK_BYTES = HOST.page_bytes, HOST.block_bytes
BLOCK_PAGES = BLOCK_BYTES // PAGE_BYTES
# Guest memory: the payload's page, L1's tables, and from DATA_IPA on what tests work with.
TABLES_IPA = protocol.RAM_IPA + (1 << 20)
DATA_IPA = protocol.RAM_IPA + BLOCK_BYTES
