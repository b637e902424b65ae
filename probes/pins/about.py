"""What a loader says of itself beside what it pins: JSON, in a BPF map that only it can write."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import nvscope
from nvscope.probes.counts.counters import MAPS
from nvscope.probes.counts.decode import POINTS
from nvscope.probes.counts.snapshot import Attachment
from nvscope.probes.points.sources import SHARED

# The map's one value. A host's attachments take some 2 KiB.
ABOUT_BYTES = 32 << 10


@dataclass(frozen=True)
class Host:
    """What of the host an exporter shows and could not find out without rights."""

    kernel: str
    nv2: bool | None
    revmap: str


@dataclass(frozen=True)
class About:
    """stamp: whose maps these are; attachments: without what was refused; programs: name -> the
    kernel's id, of those of which the pin "stats" tells, if there is one.
    """

    stamp: str
    host: Host
    attachments: tuple[Attachment, ...]
    programs: Mapping[str, int] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As the map holds it. Raises ValueError where that has no room for it."""
        said = dataclasses.asdict(self)
        for attachment in said["attachments"]:
            del attachment["refused"]
        text = json.dumps(said).encode()
        if len(text) > ABOUT_BYTES:
            raise ValueError(f"{len(text)} bytes, and there is room for {ABOUT_BYTES}")
        return text.ljust(ABOUT_BYTES, b"\0")


def read_stamp(value: bytes) -> str:
    """The stamp alone, which every version writes alike; "" where there is none.

    >>> read_stamp(b'{"stamp": "0.1.0 (programs 1a2b)"}'), read_stamp(b"")
    ('0.1.0 (programs 1a2b)', '')
    """
    try:
        said = json.loads(value.rstrip(b"\0"))
    except ValueError:
        return ""
    stamp = said.get("stamp") if isinstance(said, dict) else None
    return stamp if isinstance(stamp, str) else ""


def parse(value: bytes) -> About:
    """What a loader has written whose stamp is readable here."""
    said = json.loads(value.rstrip(b"\0"))
    attachments = tuple(Attachment(**each) for each in said["attachments"])
    return About(said["stamp"], Host(**said["host"]), attachments, said["programs"])


def readable(stamp: str) -> bool:
    """Whether what has this stamp is laid out as ours is, whichever version wrote it.

    >>> readable("9.9.9 (" + our_stamp().partition(" (")[2]), readable("9.9.9 (layout 0)")
    (True, False)
    """
    return stamp.partition(" (")[2] == our_stamp().partition(" (")[2]


@functools.cache
def our_stamp() -> str:
    """This version, and a digest of all that a reader must know of maps and of About."""
    sources = b"".join(path.read_bytes() for path in SHARED)
    fields = [each.name for kind in (About, Host, Attachment) for each in dataclasses.fields(kind)]
    known = sources + repr((fields, MAPS, POINTS)).encode()
    return f"{nvscope.__version__} (layout {hashlib.sha256(known).hexdigest()[:8]})"
