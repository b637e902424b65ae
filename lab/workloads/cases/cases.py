"""All that a reverse map can meet, case by case, in the order in which it is told."""

from __future__ import annotations

from nvscope.lab.workloads.cases import broken, entries, mmus, rare
from nvscope.lab.workloads.cases.stated import Case

CASES: dict[str, Case] = {**entries.CASES, **mmus.CASES, **broken.CASES, **rare.CASES}
