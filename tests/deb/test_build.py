"""The package is built by one command, and holds what it must; on a fresh Debian 12, too."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvscope.cli import main
from nvscope.lab.setup import host
from nvscope.man import pages
from tests.deb import packages, roots

# What a clone has of the checkout.
CLONE = "tar -c --exclude-vcs --exclude=./build --exclude=./.venv --exclude=__pycache__ ."


def test_what_is_in_it(package: Path) -> None:
    found = packages.content(package)
    shipped = {f"/usr/share/man/man1/{name}.1.gz" for name, _ in pages(main, "nvscope")}
    shipped |= {f"/usr/lib/systemd/system/{unit.name}" for unit in units()}
    shipped |= {
        "/etc/default/nvscope",
        "/usr/bin/nvscope",
        "/usr/lib/sysusers.d/nvscope.conf",
        "/usr/share/bash-completion/completions/nvscope",
        "/usr/share/doc/nvscope/README.Debian",
        "/usr/share/fish/vendor_completions.d/nvscope.fish",
        "/usr/share/nvscope/tls.conf",
        "/usr/share/zsh/vendor-completions/_nvscope",
    }
    assert shipped <= set(found)
    modules = f"/{packages.MODULES}"
    left = [name for name in found if name not in shipped and not name.startswith(modules)]
    assert all(
        name.startswith(("/usr/share/doc/nvscope/", f"{modules}-")) or "lintian" in name
        for name in left
    ), left
    sources = {path.name for path in (packages.ROOT / "probes/bpf").glob("*.[ch]")}
    assert sources <= {Path(name).name for name in found if "/probes/bpf/" in name}


def units() -> list[Path]:
    return [path for path in (packages.ROOT / "systemd").iterdir() if "nvscope-" in path.name]


def test_nothing_leads_to_another_prefix(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    files = [tmp_path / name[1:] for name in packages.content(package) if "/doc/" not in name]
    mine = [path for path in files if "dist-packages" not in path.parts and path.suffix != ".gz"]
    assert len(mine) > 8
    for path in mine:
        assert "/opt/" not in path.read_text(), path
    loader = (tmp_path / "usr/lib/systemd/system/nvscope-loader.service").read_text()
    assert "\nExecStart=/usr/bin/nvscope load" in loader


def test_lintian_has_nothing_to_say(package: Path) -> None:
    host.ready({"lintian": "lintian"})
    [changes] = package.parent.glob("*.changes")
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error,warning", changes],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[roots.Root]:
    yield from roots.make("bookworm", tmp_path_factory.mktemp("fresh") / "root", "make")


def test_a_fresh_debian_12_builds_the_same(package: Path, fresh: roots.Root) -> None:
    source = fresh.path / "src"
    source.mkdir()
    subprocess.run(f"{CLONE} | tar -x -C {source}", shell=True, cwd=packages.ROOT, check=True)
    fresh.do("chown -R nobody /src")
    refused = fresh.run("cd /src && setpriv --reuid=nobody --clear-groups make -s deb")
    assert refused.returncode != 0
    assert "as root, apt-get install dpkg-dev && apt-get build-dep ./" in refused.stderr
    *_, said = fresh.do("cd /src && make -s deb").splitlines()
    made = source / said
    assert packages.content(made) == packages.content(package)
    depends = [re.split(", ", packages.field(each, "Depends")) for each in (made, package)]
    assert sorted(depends[0]) == sorted(depends[1])
    installed = fresh.run(f"apt-get install --simulate /src/{said}")
    assert "python3-prometheus-client (>= 0.19) but" in installed.stdout, "it is too old there"
