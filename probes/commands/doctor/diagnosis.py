"""What doctor found, as plain data and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import nvscope
from nvscope.probes.commands.doctor.checks import Check, State
from nvscope.probes.counts.snapshot import Attachment
from nvscope.probes.kernel.features import Host
from nvscope.probes.points.catalog.points import BY_NAME

# Without any of these nothing is counted that anybody wants.
_TELLING = ("notifier_unmap", "s2_fault", "shadow_unmap")


@dataclass(frozen=True)
class Diagnosis:
    """host: what it is; checks: in order; attachments: of the probe points, empty where nothing
    can be said of them; attached: they were attached, not foreseen; strict: all of them must be.
    """

    host: Host
    checks: Sequence[Check]
    attachments: Sequence[Attachment]
    attached: bool = False
    strict: bool = False

    @property
    def counting(self) -> list[Attachment]:
        """The points that metrics need."""
        return [a for a in self.attachments if not BY_NAME[a.point].only_traced]

    @property
    def missing(self) -> list[Attachment]:
        """Those among them that cannot be attached, and that no other makes up for."""
        return [a for a in self.counting if not a.mechanism and not a.optional]

    @property
    def metrics(self) -> bool:
        """Whether `nvscope export` will give metrics (strict: `nvscope export --strict`)."""
        if any(check.state is State.LACK for check in self.checks):
            return False
        if self.strict and self.missing:
            return False
        return any(a.mechanism and a.point in _TELLING for a in self.counting)


def as_json(found: Diagnosis) -> dict[str, Any]:
    """The diagnosis for programs. metrics: whether they will flow; checks: state is "ok", "note" or
    "lack"; probes: refused is what would be better, in order, with the reason; mechanism "" where
    a point cannot be attached; includes: what its durations include that they would not at the
    function of choice, "" for nothing.
    """
    host = found.host
    return {
        "version": nvscope.__version__,
        "metrics": found.metrics,
        "host": {
            "name": host.name,
            "arch": host.arch,
            "kernel": host.kernel,
            "machine": asdict(host.machine),
            "kvm_mode": host.kvm_mode,
            "nv2": host.nv2,
            "revmap": host.revmap,
            "revmap_off": host.revmap_off,
            "strange_members": list(host.strange_members),
            "lockdown": host.lockdown,
            "capabilities": sorted(host.capabilities),
        },
        "checks": [asdict(check) for check in found.checks],
        "attached": found.attached,
        "probes": [_point(a) for a in found.attachments],
    }


def _point(a: Attachment) -> dict[str, Any]:
    return {
        "probe": a.point,
        "hook": a.hook,
        "mechanism": a.mechanism,
        "for": "traces" if BY_NAME[a.point].only_traced else "metrics",
        "optional": a.optional,
        "problem": a.problem,
        "remedy": a.remedy,
        "refused": [asdict(refusal) for refusal in a.refused],
        "includes": a.includes,
    }
