"""The package's services on a lab host whose first process is systemd: upgraded, removed, purged.

The lab's root has no database of packages: dpkg gets an empty one, and takes the dependencies,
which are unpacked there, on trust.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nvscope.lab import assets
from nvscope.lab.host.services import Synthetic
from nvscope.lab.host.vm import Lab
from tests.deb import packages
from tests.live.counts import assert_all_agree
from tests.live.services import START_SECONDS, main_pid, scrape, serves, until
from tests.live.tracers import attached, await_attached

BUILT = "/mnt/src/build/deb"
UNITS = "nvscope-exporter.socket nvscope-exporter.service nvscope-loader.service"
# Python's modules are compiled by the package's script, which takes minutes under emulation.
INSTALL_SECONDS = 900
# Five installations, and what they start: 17 minutes were measured beside another lab.
LIFE_SECONDS = 3600

DATABASE = """
set -e
mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates
touch /var/lib/dpkg/status /var/lib/dpkg/available
# dpkg looks for it, and needs it for conffiles that both sides have changed.
ln -s /usr/bin/busybox /usr/local/bin/diff
# The lab's port leads to the guest's own address.
changes=/run/systemd/system/nvscope-exporter.socket.d
mkdir -p $changes
printf '[Socket]\\nListenStream=\\nListenStream=0.0.0.0:9810\\n' > $changes/everywhere.conf
"""


@pytest.fixture(scope="module")
def bare_host(package: Path) -> Iterator[Lab]:
    """A host with an empty database of packages; the package is the checkout's."""
    packages.as_version(package, "0.1.1")
    packages.as_version(package, "0.1.2", packages.another_layout)
    with assets.prepare("lab").boot(systemd=True) as host:
        host.wait_ready(300)
        host.run(DATABASE)
        yield host
        assert host.warnings() == [], "the kernel complained on its console"


def dpkg(host: Lab, words: str) -> str:
    """What it prints; the lab's own paths of Python are none of its business."""
    command = f"env -u PYTHONPATH -u PYTHONPYCACHEPREFIX dpkg --force-depends {words} 2>&1"
    return host.run(command, timeout=INSTALL_SECONDS).stdout


def install(host: Lab, version: str) -> str:
    return dpkg(host, f"--install {BUILT}/nvscope_{version}_all.deb")


def assert_nothing_starts_by_itself(host: Lab) -> None:
    for question, answer in (("is-active", "inactive"), ("is-enabled", "disabled")):
        said = host.run(f"systemctl {question} {UNITS}", check=False).stdout.split()
        assert said == [answer] * len(UNITS.split())


def loaded_at(host: Lab) -> str:
    """When the loader last attached: the folder of its pins is another one each time."""
    return host.run("stat -c %i /run/nvscope/bpf/current").stdout


@pytest.mark.timeout(LIFE_SECONDS)
def test_a_package_life(bare_host: Lab, package: Path) -> None:
    host = bare_host
    before = attached(host)
    install(host, packages.field(package, "Version"))
    assert attached(host) == before
    assert_nothing_starts_by_itself(host)
    host.run("echo NVSCOPE_LOAD=--strict > /etc/default/nvscope")
    host.run(f"systemctl enable --now {UNITS}", timeout=START_SECONDS)
    until(host, lambda: serves(host), 60)
    with Synthetic(host, "kept", "--unmaps", "17") as guest:
        facts = guest.facts(180)
        assert_all_agree(facts, scrape(host), seen=None)
        pid, folder = main_pid(host), loaded_at(host)

        install(host, "0.1.1")
        until(host, lambda: main_pid(host) not in (0, pid) and serves(host), 120)
        assert_all_agree(facts, scrape(host), seen=None)
        assert loaded_at(host) == folder, "the loader has nothing to do"
        said = host.run("env -u PYTHONPATH /usr/bin/nvscope --version").stdout
        assert said == "nvscope, version 0.1.1\n"
        assert host.run("cat /etc/default/nvscope").stdout == "NVSCOPE_LOAD=--strict\n"
        pid = main_pid(host)

        install(host, "0.1.2")
        until(host, lambda: main_pid(host) not in (0, pid) and serves(host), 120)
        assert loaded_at(host) != folder
        assert not scrape(host).select("nvscope_vm_info"), "counts start at 0"

    dpkg(host, "--remove nvscope")
    await_attached(host, before)
    assert host.run("mountpoint /run/nvscope/bpf", check=False).returncode != 0
    assert host.run("ls /etc/default").stdout.count("nvscope") == 1

    install(host, "0.1.2")
    host.run("systemctl start nvscope-exporter", timeout=START_SECONDS)
    until(host, lambda: serves(host), 60)
    dpkg(host, "--purge nvscope")
    await_attached(host, before)
    left = host.run(
        "ls -d /run/nvscope/bpf /etc/default/nvscope /usr/bin/nvscope; getent group nvscope;"
        " find /etc/systemd /var/lib/systemd/deb-systemd-helper-enabled -name '*nvscope*';"
        " find /usr/lib /usr/share -path '*nvscope*'; dpkg --list nvscope | grep ^.[iHUFWt]",
        check=False,
    )
    assert left.stdout == ""
    units = host.run("systemctl list-units --all --no-legend '*nvscope*'").stdout
    assert units == ""

    install(host, "0.1.2")
    assert_nothing_starts_by_itself(host)
    assert attached(host) == before
    assert "=--strict" not in host.run("cat /etc/default/nvscope").stdout
    journal = host.run("journalctl --no-pager -u 'nvscope*'").stdout
    assert "Traceback" not in journal
    assert "unset environment variable" not in journal
