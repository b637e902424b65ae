"""No line, however it is made, takes a regular expression more than a time linear in its length."""

from __future__ import annotations

import importlib
import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LENGTH = 4096  # of a line that is read whole (text.MAX_LINE)
# A linear one takes 1 ms at most, one of the third power an hour.
ALLOWED_SECONDS = 0.1

RUNS = [
    *(" ", "\t", "1", "a", "-", ":", "[", "]", "(", ")", ".", "=", "/", "_", "#", "é", "\\", "\n"),
    *("1 ", "a ", "1-", "-1 ", "a:", "a.", "a:b", "[1]", "[1] ", "1/", "1.", "0x", "a=", "a=1 "),
    *(
        "1.000000: ",
        "-1 [0] ",
        "a -1 [000] ",
        "x 1 [0] 1.000000: ",
        "CPU:",
        "CPU: ",
        "CPU:1 [LOST ",
    ),
    *(
        "PERF_RECORD_",
        "PERF_RECORD_LOST",
        "[0] 1.0: ",
        "a <-b ",
        "\x1b[",
        "1;",
        "record_",
        " record",
    ),
]
BEFORE = [
    "",
    "a ",
    "a-1 [000] ",
    "a 1 [000] ",
    "a-1 [000] 1.000000: ",
    "a 1 [000] 1.000000: e: ",
    "#",
]
AFTER = ["", "!"]


def patterns() -> Iterator[tuple[str, Callable[[str], object]]]:
    """Each pattern's name, and the way in which it is used."""
    for subpackage in ("analysis", "probes"):
        sources = {path: path.read_text() for path in sorted((ROOT / subpackage).rglob("*.py"))}
        for path in (path for path, source in sources.items() if "re.compile(" in source):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for key, value in vars(importlib.import_module(f"nvscope.{name}")).items():
                if isinstance(value, re.Pattern):
                    yield f"{name}.{key}", used(value, key, "".join(sources.values()))


def used(
    pattern: re.Pattern[str] | re.Pattern[bytes], key: str, source: str
) -> Callable[[str], object]:
    is_searched = re.search(rf"\b{key}\.(search|findall|finditer|sub|split)\(", source)
    method = pattern.search if is_searched else pattern.fullmatch
    if isinstance(pattern.pattern, bytes):
        return lambda text: method(text.encode())  # type: ignore[arg-type]
    return method  # type: ignore[return-value]


PATTERNS = dict(patterns())


def hostile() -> Iterator[str]:
    for before, run, after in itertools.product(BEFORE, RUNS, AFTER):
        yield (before + run * (LENGTH // len(run)))[:LENGTH] + after


@pytest.mark.parametrize("name", PATTERNS)
def test_the_time_is_linear(name: str) -> None:
    for line in hostile():
        took = []
        for _ in range(3):  # the machine may have been busy
            start = time.process_time()
            PATTERNS[name](line)
            took.append(time.process_time() - start)
            if took[-1] < ALLOWED_SECONDS:
                break
        assert min(took) < ALLOWED_SECONDS, (line[:80], took)
