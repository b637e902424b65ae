"""The exporter as a service of systemd's."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable

from nvscope.lab.host.remote import GuestError
from nvscope.lab.host.services import Metrics
from nvscope.lab.host.vm import Lab

START_SECONDS = 300


def scrape(host: Lab) -> Metrics:
    url = f"http://127.0.0.1:{host.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=60) as response:
        return Metrics(response.read().decode())


def until(host: Lab, ready: Callable[[], bool], seconds: float) -> None:
    """Wait for it; what the services have said is in the failure."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise GuestError(host.run("journalctl --no-pager -u 'nvscope*' | tail -60").stdout)
        time.sleep(0.3)


def serves(host: Lab) -> bool:
    try:
        return scrape(host).sum("nvscope_up") == 1
    except OSError:
        return False


def main_pid(host: Lab) -> int:
    said = host.run("systemctl show -P MainPID nvscope-exporter.service").stdout
    return int(said)
