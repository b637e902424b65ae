"""What a nested guest's unmaps and faults cost, sample by sample.

Run as `python3 -m nvscope.lab.workloads.price -name vmA --unmaps 15` where nothing else runs, on a
machine on which one instruction is one nanosecond. The samples are then instruction counts:

- unmap: one page taken back by madvise(), its system call included.
- recover: after that, L2 writes all its pages once. A kernel that unmapped more pays here.
- fault: L2's first write to a page, one of many in a run; all that the page costs, exits included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import (
    NESTED_IPA,
    Request,
    Stop,
    expect,
    request_options,
    run,
)

PAGES = 64  # that L2 works on while pages are taken back
# Each a run of its own: what an order costs by itself is spread over its pages.
FAULT_SAMPLES, FAULT_PAGES = 12, 128
_FAULTS_PAGE = PAGES  # behind the others


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--unmaps", type=click.IntRange(1), default=15, show_default=True)
def main(unmaps: int, **request: Any) -> None:
    """Take back pages of a nested guest, and print what each time cost, as JSON."""

    def play(guest: NestedGuest, stop: Stop) -> Mapping[str, Any]:
        faults = _faults(guest)
        recover = _take_back(guest, unmaps, stop)
        return {"samples": {"unmap": guest.take_back_ns, "recover": recover, "fault": faults}}

    pages = PAGES + FAULT_SAMPLES * FAULT_PAGES
    run(Request(**request), pages * PAGE_BYTES, play)


def _faults(guest: NestedGuest) -> list[float]:
    """L2 writes pages that it never touched, many at a time. What each of them cost."""
    size = FAULT_PAGES * PAGE_BYTES
    first = _FAULTS_PAGE * PAGE_BYTES
    guest.map(NESTED_IPA + first, DATA_IPA + first, FAULT_SAMPLES * size)
    samples = []
    for sample in range(FAULT_SAMPLES):
        guest.l2_write(NESTED_IPA + first + sample * size, 1, FAULT_PAGES)
        samples.append(guest.l2_write_ns[-1] / FAULT_PAGES)
    return samples


def _take_back(guest: NestedGuest, unmaps: int, stop: Stop) -> list[int]:
    """Take back pages one by one; what it cost L2 to write all its pages after each."""
    guest.map(NESTED_IPA, DATA_IPA, PAGES * PAGE_BYTES)
    guest.l2_write(NESTED_IPA, 0, PAGES)
    samples = []
    for turn in range(unmaps):
        if stop.asked:
            break
        guest.take_back(DATA_IPA + turn % PAGES * PAGE_BYTES)
        guest.l2_write(NESTED_IPA, turn, PAGES)
        samples.append(guest.l2_write_ns[-1])
        for page in (0, turn % PAGES, PAGES - 1):
            found = guest.host_read(DATA_IPA + page * PAGE_BYTES)
            expect(f"data of page {page} after take-back {turn}", found, turn + page)
    return samples


if __name__ == "__main__":
    main()
