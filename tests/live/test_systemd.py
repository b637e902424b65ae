"""The services, on a host whose first process is systemd: installed, run, killed, stopped."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator

import bcrypt
import pytest
import trustme

from nvscope.lab import assets
from nvscope.lab.host.services import Metrics, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.setup.paths import source_root
from tests.live import wheels
from tests.live.counts import assert_all_agree
from tests.live.services import START_SECONDS, main_pid, scrape, serves, until
from tests.live.tracers import attached, await_attached

PREFIX = "/opt/nvscope"
UNITS = f"{PREFIX}/lib/systemd/system"
WHEELS = source_root() / "build/wheels"
# Of the exporter at rest, in KiB (the budget is 40 MiB).
RESIDENT_KIB = 40 << 10
OTHER = "--reuid 65533 --regid 65533 --clear-groups"
RELOADED = "nvscope_config_last_reload_successful"

# As pip would, which takes minutes under emulation.
INSTALL = f"""
set -e
python3 -m venv --system-site-packages --without-pip {PREFIX}
site=$(echo {PREFIX}/lib/python3.*/site-packages)
python3 -m zipfile -e /mnt/src/build/wheels/nvscope-*.whl $site
cp -r $site/nvscope-*.data/data/* {PREFIX}/
printf '#!{PREFIX}/bin/python\\nfrom nvscope.cli import main\\nmain()\\n' > {PREFIX}/bin/nvscope
chmod 755 {PREFIX}/bin/nvscope
{PREFIX}/bin/python -m compileall -q $site/nvscope/*.py $site/nvscope/probes $site/nvscope/exporter
systemd-sysusers {PREFIX}/lib/sysusers.d/nvscope.conf
install -D -m 644 {PREFIX}/share/nvscope/nvscope.default /etc/default/nvscope
printf '[probes]\\nstrict = true\\n[export]\\n' > /etc/nvscope.toml
sed -i 's/^#NVSCOPE/NVSCOPE/' /etc/default/nvscope
# The lab's port leads to the guest's own address.
changes=/run/systemd/system/nvscope-exporter.socket.d
mkdir -p $changes
printf '[Socket]\\nListenStream=\\nListenStream=0.0.0.0:9810\\n' > $changes/everywhere.conf
# So that a test need not wait for a minute.
changes=/run/systemd/system/nvscope-exporter.service.d
mkdir -p $changes
printf '[Service]\\nWatchdogSec=20\\n' > $changes/watchdog.conf
"""


@pytest.fixture(scope="module")
def systemd_host() -> Iterator[Lab]:
    """A host with the services installed and enabled."""
    wheels.make(source_root(), WHEELS)
    with assets.prepare("lab").boot(systemd=True) as host:
        host.wait_ready(300)
        host.run(INSTALL, timeout=300)
        yield host
        assert host.warnings() == [], "the kernel complained on its console"


def written(path: str, content: bytes) -> str:
    """The command that writes a file which only root can read."""
    return f"echo {b64encode(content).decode()} | base64 -d > {path}; chmod 600 {path}\n"


def assert_serves_by_credentials(host: Lab) -> None:
    """With the drop-in of share/: TLS and a password, out of files that only root may read."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    chain = b"".join(each.bytes() for each in made.cert_chain_pems)
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    web = (
        "tls_server_config:\n  cert_file: nvscope.crt\n  key_file: nvscope.key\n"
        f"basic_auth_users:\n  prom: {hashed}\n"
    )
    host.run(
        "mkdir -m 700 /etc/nvscope\n"
        + written("/etc/nvscope/web.yml", web.encode())
        + written("/etc/nvscope/nvscope.crt", chain)
        + written("/etc/nvscope/nvscope.key", made.private_key_pem.bytes())
        + f"install -D -m 644 {PREFIX}/share/nvscope/tls.conf -t"
        " /etc/systemd/system/nvscope-exporter.service.d\n"
        "systemctl daemon-reload; systemctl restart nvscope-exporter",
        timeout=120,
    )
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    asked = urllib.request.Request(f"https://127.0.0.1:{host.metrics_port}/metrics")
    asked.add_header("Authorization", f"Basic {b64encode(b'prom:right').decode()}")
    with urllib.request.urlopen(asked, timeout=60, context=trusting) as response:
        assert Metrics(response.read().decode()).sum("nvscope_up") == 1
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(asked.full_url, timeout=60, context=trusting)


WRITE = """
import sys
from pathlib import Path
from nvscope.probes.kernel import libbpf
fd = libbpf.open_pinned(Path(sys.argv[1]), mapping=True)
print("open", flush=True)
libbpf.write(fd, 0, bytes(384))
"""


def assert_closed_to_others(host: Lab) -> None:
    """Other users of the host can neither list nor open what is pinned, nor lock loaders out."""
    folder = "/run/nvscope/bpf"
    modes = host.run(f"stat -c '%a %U %G' {folder} {folder}/current {folder}/current/rows")
    assert modes.stdout.splitlines() == [
        "1711 root root", "750 root nvscope", "660 root nvscope"
    ]  # fmt: skip
    # Frozen: to be mapped by the readers' group, to be written by nobody.
    member = "setpriv --reuid=65534 --regid=nvscope --clear-groups"
    written = host.run(f"{member} python3 -c '{WRITE}' {folder}/current/rows", check=False)
    assert written.stdout == "open\n"
    assert "PermissionError" in written.stderr
    for path in ("", "/lock", "/current", "/current/rows", "/current/links"):
        for attempt in (f"ls {folder}{path}/", f"flock -n {folder}{path} true"):
            refused = host.run(f"setpriv {OTHER} {attempt}", check=False)
            assert refused.returncode != 0, attempt
            assert "Permission denied" in refused.stderr, attempt


def test_the_units_are_sound_and_closed(systemd_host: Lab) -> None:
    units = f"{UNITS}/run-nvscope-bpf.mount {UNITS}/nvscope-loader.service"
    said = systemd_host.run(
        f"systemd-analyze verify --man=no {units} {UNITS}/nvscope-exporter.service"
    )
    assert (said.stdout, said.stderr) == ("", "")
    for unit, most in (("exporter", 16), ("loader", 18)):  # tenths
        systemd_host.run(
            f"systemd-analyze security --offline=yes --threshold={most}"
            f" {UNITS}/nvscope-{unit}.service"
        )


def test_a_service_life(systemd_host: Lab) -> None:
    host = systemd_host
    before = attached(host)
    host.run(f"systemctl enable --now {UNITS}/*", timeout=START_SECONDS)
    until(host, lambda: serves(host), 60)
    pid = main_pid(host)
    status = dict(
        line.split(":\t", 1) for line in host.run(f"cat /proc/{pid}/status").stdout.splitlines()
    )
    print(status["VmRSS"])
    assert status["Uid"].split()[0] != "0"
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert int(status["VmRSS"].split()[0]) <= RESIDENT_KIB
    assert host.run("getent group nvscope").stdout.split(":")[2] == status["Gid"].split()[0]
    assert "not counted" not in host.run("journalctl --no-pager -u nvscope-loader").stdout
    assert scrape(host).values("nvscope_events_lost_total", "cause")["recursion"] == 0
    assert_closed_to_others(host)
    with Synthetic(host, "kept", "--unmaps", "17") as guest:
        facts = guest.facts(180)
        assert_all_agree(facts, scrape(host), seen=None)

        host.run("systemctl kill -s KILL nvscope-exporter")
        until(host, lambda: main_pid(host) not in (0, pid) and serves(host), 120)
        assert_all_agree(facts, scrape(host), seen=None)

        pid = main_pid(host)
        host.run(f"kill -STOP {pid}")  # the watchdog's to find
        until(host, lambda: main_pid(host) not in (0, pid) and serves(host), 180)
        assert_all_agree(facts, scrape(host), seen=None)
        pid = main_pid(host)

        host.run(
            "echo 'max-series-vms = 0' >> /etc/nvscope.toml; systemctl reload nvscope-exporter"
        )
        until(host, lambda: scrape(host).sum(RELOADED) == 0, 30)
        host.run("sed -i '$d' /etc/nvscope.toml; systemctl reload nvscope-exporter")
        until(host, lambda: scrape(host).sum(RELOADED) == 1, 30)
        assert main_pid(host) == pid

        reload = host.popen("systemctl reload nvscope-loader", timeout=START_SECONDS)
        while reload.poll() is None:
            assert scrape(host).sum("nvscope_up") == 1
            time.sleep(1)
        assert reload.wait() == 0
        anew = scrape(host)
        assert anew.sum("nvscope_up") == 1
        assert not anew.select("nvscope_vm_info"), "counts start at 0"
    assert_serves_by_credentials(host)
    host.run("systemctl stop nvscope-exporter.socket nvscope-loader run-nvscope-bpf.mount")
    await_attached(host, before)
    journal = host.run("journalctl --no-pager -u 'nvscope*'").stdout
    assert "Traceback" not in journal
    assert "Watchdog timeout" in journal
    assert host.run("mountpoint /run/nvscope/bpf", check=False).returncode != 0
