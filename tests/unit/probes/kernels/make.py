"""Makes the fixtures of Debian's kernels: what nvscope asks of their types and symbols, no more.

    python -m tests.unit.probes.kernels.make [VERSION ...]

Kernels come from the lab's cache, else from Debian's archive; none is booted. A change of the
catalog that asks for more wants a run of this.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from nvscope.lab.kernel import names
from nvscope.lab.kernel.names import Release
from nvscope.lab.kernel.packages import archive, packaged
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.symbols import without_suffix
from tests.unit.probes.kernels import asked, btftypes, image, prune

FOLDER = Path(__file__).parent
SYMBOLS = FOLDER / "kallsyms.json"
ASKED = FOLDER / "asked.json"  # what all fixtures answer
VERSIONS = ("6.16.12", "6.17.13", "6.18.15", "6.19.14", "7.0.13", "7.1.13", "7.2.12", "7.3.4")


def main(versions: list[str]) -> None:
    """Write the fixtures of these versions, beside those that are there."""
    for version in versions:
        content = packaged.image(_release(version)).read_bytes()
        path = FOLDER / f"{version}.btf"
        path.write_bytes(fixture(image.type_information(content)))
        _note_symbols(version, content)
        print(f"{path.name}: {path.stat().st_size} bytes")
    if {path.stem for path in FOLDER.glob("*.btf")} <= set(versions):
        ASKED.write_text(json.dumps(asked.questions(), indent=1) + "\n")


def fixture(full: bytes) -> bytes:
    """The part of a kernel's BTF that is asked for; raises ValueError if it answers differently."""
    data = btftypes.write(prune.pruned(btftypes.parse(full)))
    told, expected = asked.answers(_btf(data)), asked.answers(_btf(full))
    different = [question for question in expected if told[question] != expected[question]]
    if different:
        raise ValueError(f"the fixture answers differently: {different}")
    return data


def hooked(symbols: list[str]) -> list[str]:
    """Those that are a function of the catalog, whatever a compiler has put behind its name."""
    functions = set(asked.functions())
    return sorted({symbol for symbol in symbols if without_suffix(symbol) in functions})


def _release(version: str) -> Release:
    """Also of a kernel that the lab cannot boot."""
    wanted = names.wanted(version)
    there = wanted.among({*packaged.cached(), *archive.releases(archive.packages())})
    if not there:
        raise SystemExit(f"the Debian archive has no kernel {version}")
    return there[-1]


def _note_symbols(version: str, content: bytes) -> None:
    noted = json.loads(SYMBOLS.read_text()) if SYMBOLS.exists() else {}
    noted[version] = hooked(list(image.symbols(content)))
    SYMBOLS.write_text(json.dumps(dict(sorted(noted.items())), indent=1) + "\n")


def _btf(data: bytes) -> Btf:
    with tempfile.NamedTemporaryFile(suffix=".btf") as file:
        file.write(data)
        file.flush()
        return Btf(Path(file.name))


if __name__ == "__main__":
    main(sys.argv[1:] or list(VERSIONS))
