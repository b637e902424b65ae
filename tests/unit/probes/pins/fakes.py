"""A BPF file system and what a loader would pin there, where these can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nvscope.probes.counts.counters import Counters
from nvscope.probes.errors import LackError
from nvscope.probes.pins import bpffs
from nvscope.probes.pins.layout import LOCK
from nvscope.probes.points.sizes import Sizes
from tests.unit.exporter.fakes import ATTACHMENTS, FakeHost
from tests.unit.probes.counts.maps import Maps


@dataclass
class FakeLoaded:
    """What a loader hands over, with real maps and nothing attached."""

    maps: Maps
    counters: Counters
    links: dict[str, int] = field(default_factory=dict)
    programs: dict[str, int] = field(default_factory=dict)
    iterator: int | None = None
    attachments = ATTACHMENTS
    host = FakeHost()


def mounted(place: Path) -> Iterator[Path]:
    """A BPF file system of our own, for a fixture."""
    try:
        bpffs.require(place)
    except LackError:
        pytest.skip("no right to mount a BPF file system")
    yield place
    bpffs.release(place)


def make_maps(sizes: Sizes) -> Iterator[Maps]:
    """Empty maps, for a fixture."""
    try:
        made = Maps(sizes)
    except LackError:
        pytest.skip("no libbpf")
    except PermissionError:
        pytest.skip("no right to make BPF maps")
    with made:
        yield made


def make_loaded() -> Iterator[FakeLoaded]:
    """With empty maps, for a fixture."""
    for maps in make_maps(Sizes(vms=1)):
        counters = Counters(maps.fds, None, notifier_seen=True)
        yield FakeLoaded(maps, counters)
        counters.close()


def folders(place: Path) -> list[str]:
    """Beside what every BPF file system has, and the lock."""
    return [path.name for path in place.iterdir() if path.is_dir() and path.name != LOCK]
