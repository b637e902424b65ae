"""A BPF file system and what a loader would pin there, where these can be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from exporter_fakes import ATTACHMENTS, FakeHost

from nvscope.probes import decode, libbpf
from nvscope.probes.counters import Counters
from nvscope.probes.errors import LackError
from nvscope.probes.pins import bpffs
from nvscope.probes.pins.layout import LOCK

MAP_TYPE_HASH, MAP_TYPE_PERCPU_HASH = 1, 5  # enum bpf_map_type, uapi/linux/bpf.h
MISSED_COUNTS = len(decode.EDGES) * len(decode.POINTS)


@dataclass
class FakeLoaded:
    """What a loader hands over, with real maps and nothing attached."""

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


def make_loaded() -> Iterator[FakeLoaded]:
    """Empty maps, for a fixture."""
    try:
        create = libbpf.library().bpf_map_create
    except LackError:
        pytest.skip("no libbpf")
    maps = {
        "rows": create(MAP_TYPE_PERCPU_HASH, b"rows", *decode.SIZES, 8, None),
        "spare": create(MAP_TYPE_PERCPU_HASH, b"spare", *decode.SIZES, 8, None),
        "mmus": create(MAP_TYPE_HASH, b"mmus", *decode.MMU_SIZES, 8, None),
        "lost": create(libbpf.MAP_TYPE_ARRAY, b"lost", 4, 8, len(decode.LOSSES), None),
        "missed": create(libbpf.MAP_TYPE_ARRAY, b"missed", 4, 8, MISSED_COUNTS, None),
    }
    if min(maps.values()) < 0:
        pytest.skip("no right to make BPF maps")
    yield FakeLoaded(Counters(maps, None, notifier_seen=True))
    for fd in maps.values():
        os.close(fd)


def folders(place: Path) -> list[str]:
    """Beside what every BPF file system has, and the lock."""
    return [path.name for path in place.iterdir() if path.is_dir() and path.name != LOCK]
