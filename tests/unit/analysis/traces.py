"""Traces for tests of the validator: judged, altered, written to files."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nvscope.analysis.judging.findings import Result
from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate.engine import Engine
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import Writer, columns_of
from tests.unit.analysis.kernel import Kernel

VM, VM2 = 0xFFFF000012340000, 0xFFFF000012350000
M1, M2 = 0xFFFF000056780000, 0xFFFF000056781000

Events = list[Event]
Pick = Callable[[Event], bool]


def booted(revmap: str = "maple-v2") -> Kernel:
    """A kernel with one VM and its two shadow MMUs."""
    kernel = Kernel(revmap)
    kernel.start_vm(VM)
    kernel.add_mmu(VM, M1)
    kernel.add_mmu(VM, M2)
    return kernel


def about_of(variant: str) -> About:
    return About(kernel="7.3.0", arch="aarch64", revmap=variant.partition("-")[0])


def judged(events: Events, variant: str = "maple-v2", **about: Any) -> Result:
    engine = Engine(replace(about_of(variant), **about), VARIANTS[variant])
    engine.feed_events(dict(enumerate(events)))
    return engine.finish()


def found(events: Events, variant: str = "maple-v2") -> set[str]:
    """Which invariants are violated."""
    return {finding.invariant for finding in judged(events, variant).findings}


def of_kind(*kinds: str, **values: Any) -> Pick:
    """Events of these kinds, with these values."""
    return lambda e: e.kind in kinds and all(getattr(e, k) == v for k, v in values.items())


def without(events: Events, pick: Pick) -> Events:
    left = [event for event in events if not pick(event)]
    assert len(left) < len(events)
    return left


def changed(events: Events, pick: Pick, **values: Any) -> Events:
    new = [replace(event, **values) if pick(event) else event for event in events]
    assert new != events
    return new


def inserted(events: Events, pick: Pick, *new: Event) -> Events:
    """Before the last that is picked."""
    at = max(index for index, event in enumerate(events) if pick(event))
    return events[:at] + list(new) + events[at:]


def written(*batches: Events, variant: str = "maple-v2", ended: bool = True, **about: Any) -> bytes:
    """A trace file."""
    stream = io.BytesIO()
    writer = Writer(stream, replace(about_of(variant), **about))
    for batch in batches:
        writer.write(columns_of(batch))
    if ended:
        writer.close()
    return stream.getvalue()
