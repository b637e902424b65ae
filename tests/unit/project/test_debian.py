"""debian/: dependencies are those of setup.cfg, versions agree, and every unit is spoken of."""

from __future__ import annotations

import ast
import configparser
import re
from pathlib import Path

import pytest

import nvscope

ROOT = Path(__file__).resolve().parents[3]
DEBIAN = ROOT / "debian"
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
UNIT = re.compile(r"\.(service|socket|mount)$")
UNITS = {path.name for path in (ROOT / "systemd").iterdir() if UNIT.search(path.name)}
# Where Debian calls a package otherwise than "python3-" and the name on PyPI.
NAMES = {"pyyaml": "python3-yaml"}
# Older than setup.cfg asks for, with what that is asked for: Debian has brought back the fix of
# CVE-2025-43859 from 0.16.
FIXED = {"python3-h11": "0.14.0-1.1~"}


def required(section: str, key: str) -> dict[str, str]:
    """Debian's name -> the least version, of what setup.cfg asks for."""
    lines = [re.split(" *>= *", each) for each in SETUP[section][key].splitlines() if each.strip()]
    asked = [(line[0], line[1]) for line in lines if not line[0].startswith(("#", "nvscope["))]
    names = [(re.sub(r"\[.*", "", name), least) for name, least in asked]
    return {NAMES.get(name, f"python3-{name}"): least for name, least in names}


def control(field: str) -> dict[str, str]:
    """Package -> the least version, "" for any, in a field of the control file."""
    text = (DEBIAN / "control").read_text()
    found = re.search(rf"^{field}:\n((?: .*\n)+)", text, re.MULTILINE)
    assert found
    words = [line.strip(" ,") for line in found[1].splitlines()]
    parts = [re.fullmatch(r"(\S+?)(?: \(>= (\S+)\))?", word) for word in words if word[0] != "$"]
    return {part[1]: part[2] or "" for part in parts if part and part[1] != "debhelper-compat"}


@pytest.mark.parametrize(("name", "least"), required("options", "install_requires").items())
def test_what_setup_cfg_requires_the_package_depends_on(name: str, least: str) -> None:
    depends = control("Depends")
    assert depends[name] == FIXED.get(name, least)
    assert name in control("Build-Depends"), "the manual pages are made of the commands"


def test_bcc_is_debians() -> None:
    assert set(control("Depends")) == {
        *required("options", "install_requires"),
        "python3-bpfcc",
    }


def test_what_is_optional_is_offered() -> None:
    offered = {*control("Recommends"), *control("Suggests")}
    extras = {
        name
        for extra in ("trace", "fast", "dask")
        for name in required("options.extras_require", extra)
    }
    assert offered == extras - {"python3-pyarrow"} | {"python3-distributed"}
    assert "pyarrow" in (DEBIAN / "nvscope.README.Debian").read_text()


def test_versions_agree() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"nvscope ({nvscope.__version__}) ")
    assert SETUP["metadata"]["version"] == nvscope.__version__


def test_all_of_systemd_is_installed() -> None:
    installed = SETUP["options.data_files"].values()
    files = {Path(name).name for group in installed for name in group.split()}
    assert files == {path.name for path in (ROOT / "systemd").iterdir()}
    for path in (ROOT / "systemd").iterdir():
        absolute = re.findall(r"/\S*nvscope\S*/bin/|/usr/\S*nvscope", path.read_text())
        assert set(absolute) <= {"/opt/nvscope/bin/"}, "debian/rules changes this prefix alone"


def test_scripts_speak_of_every_unit() -> None:
    assert UNITS
    rules, prerm = (DEBIAN / "rules").read_text(), (DEBIAN / "nvscope.prerm").read_text()
    assert set(re.findall(r"[\w-]+\.(?:service|socket|mount)\b", rules)) == UNITS
    assert set(re.findall(r"[\w-]+\.(?:service|socket|mount)\b", prerm)) == UNITS


def test_completion_of_every_shell_is_installed() -> None:
    from nvscope.completion import SHELLS

    found = re.search(r"^COMPLETION = ({.*?^})", (ROOT / "setup.py").read_text(), re.M | re.S)
    assert found
    assert set(ast.literal_eval(found[1])) == set(SHELLS)
