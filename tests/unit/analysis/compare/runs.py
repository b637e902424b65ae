"""Runs of a probe, made up: as `nvscope probe NAME --json` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nvscope.analysis.compare.runs import Group
from nvscope.probes.counts.snapshot import SLOTS, Durations


def durations(ns: npt.NDArray[np.float64] | Sequence[float]) -> Durations:
    """The histogram of durations in ns, as the kernel makes it."""
    whole = np.floor(np.asarray(ns, float))
    slots = np.bincount(np.minimum(np.frexp(whole)[1], SLOTS - 1), minlength=SLOTS)
    return Durations(len(whole), int(whole.sum()), tuple(int(n) for n in slots))


def group(ns: npt.NDArray[np.float64] | Sequence[float]) -> Group:
    return Group((), durations(ns))


def document(by_vm: Mapping[str, Durations], **changed: Any) -> dict[str, Any]:
    """A run by VM; `changed` replaces keys of the whole."""
    return {
        "nvscope": "0.1.0",
        "kind": "probe",
        "probe": "notifier_unmap",
        "started_unix_ns": 1_764_000_000_000_000_000,
        "seconds": 30.0,
        "host": {"kernel": "7.3.4", "arch": "aarch64", "revmap": "maple"},
        "by": ["vm"],
        "lost": {"missed_exit": 0},
        "groups": [
            {
                "labels": {"vm": vm},
                "count": of.count,
                "sum_ns": of.sum_ns,
                "slots": list(of.slots),
                "percentiles_ns": {},
            }
            for vm, of in by_vm.items()
        ],
        "slow": [],
    } | changed


def write(path: Path, by_vm: Mapping[str, Durations], **changed: Any) -> Path:
    path.write_text(json.dumps(document(by_vm, **changed)))
    return path
