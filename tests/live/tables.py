"""What was seen of each kernel, kept as JSON, and all of it as the table in docs/kernels.md.

`python -m tests.live.tables` prints the table of all that is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nvscope.probes.counts.snapshot import INCLUDES
from tests.live.kernels import Seen

RESULTS = Path(__file__).resolve().parents[2] / "build/kernels"
HEAD = (
    "| kernel | page | faults at | other points | lacking | events lost | result |",
    "| --- | ---: | --- | --- | --- | ---: | --- |",
)


def keep(seen: Seen, failures: int) -> None:
    """Write down what a run of the tests has shown of a kernel. failures: of its tests."""
    kernel = seen.doctor["host"]["kernel"]
    lost = max(page.sum("nvscope_events_lost_total") for page in seen.metrics.values())
    result = {
        "kernel": kernel,
        "page_bytes": seen.page_bytes,
        "probes": seen.doctor["probes"],
        "lost": int(lost),
        "failures": failures,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{kernel}.json").write_text(json.dumps(result))


def row(result: Mapping[str, Any]) -> str:
    """A kernel's line of the table."""
    probes = {probe["probe"]: probe for probe in result["probes"]}
    fault = probes.pop("s2_fault")
    included = f", with {INCLUDES[fault['includes']]}" if fault["includes"] else ""
    by = dict.fromkeys(p["mechanism"] for p in probes.values() if p["mechanism"])
    lacking = [name for name, p in probes.items() if not p["mechanism"]]
    cells = (
        result["kernel"],
        f"{result['page_bytes'] >> 10} KiB",
        f"{fault['mechanism']} `{fault['hook']}`{included}",
        ", ".join(by),
        ", ".join(lacking) or "none",
        str(result["lost"]),
        "exact" if not result["failures"] else f"{result['failures']} tests failed",
    )
    return f"| {' | '.join(cells)} |"


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """All kernels, oldest first."""
    ordered = sorted(results, key=lambda each: _version(each["kernel"]))
    return "\n".join((*HEAD, *map(row, ordered)))


def _version(kernel: str) -> tuple[list[int], str]:
    """7.0.13 is after 6.19.14.

    >>> _version("7.0.13+deb13-arm64") > _version("6.19.14+deb13-arm64")
    True
    """
    number, _, rest = kernel.partition("+")
    return [int(part) for part in number.split(".")], rest


if __name__ == "__main__":
    print(table(json.loads(file.read_text()) for file in RESULTS.glob("*.json")))
