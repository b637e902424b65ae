"""Fifty simulated hosts in one Prometheus: no scrape or rule fails, and it stays cheap."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import fleet
from nvscope.lab.processes.prometheus import Prometheus

# Of a VM and of a host; a label too many makes a multiple of it.
VM_SERIES, HOST_SERIES = 200, 60
RATES_SECONDS = 8 * fleet.INTERVAL_SECONDS  # two, and more where the machine has other work


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    """One that has scraped the whole fleet."""
    with fleet.scraped(fleet.HOSTS, fleet.VMS) as prometheus:
        yield prometheus


def test_a_fleet_is_cheap_to_watch(prometheus: Prometheus) -> None:
    cost = fleet.measure(prometheus, fleet.SECONDS)
    print(cost)  # pytest shows it when the test fails
    assert prometheus.value("sum(min_over_time(up[5m]))") == fleet.HOSTS
    most = fleet.HOSTS * (fleet.VMS * VM_SERIES + HOST_SERIES)
    assert fleet.HOSTS * fleet.VMS < cost.samples < cost.series < most
    assert cost.recorded < cost.samples / 20, "recording has to make it fewer"
    # Generous: other work on the machine counts in the durations.
    rules = cost.instance_rules + cost.cluster_rules + cost.alerts
    assert 0 < rules < fleet.INTERVAL_SECONDS
    assert 0 < cost.cpu_seconds < 0.5
    assert cost.memory_mib < 2048


def test_a_fleets_rules_tell_hosts_and_clusters_apart(prometheus: Prometheus) -> None:
    count = "nvscope_notifier_unmap_duration_seconds_count:rate5m"
    prometheus.wait_for(
        lambda: (
            len(prometheus.query(f"instance:{count} > 0")) == fleet.HOSTS
            and len(prometheus.query(f"cluster:{count} > 0")) == len(fleet.CLUSTERS)
        ),
        "recording rates of all hosts and clusters",
        RATES_SECONDS,
    )
    # A twentieth of the unmaps falls back, give or take that counts are whole.
    share = "cluster:nvscope_full_shadow_unmaps_per_shadow_unmaps:ratio_rate5m"
    for series in prometheus.query(share):
        assert float(series["value"][1]) == pytest.approx(0.05, rel=0.1)
    slow = "cluster:nvscope_notifier_unmap_duration_seconds:p99_rate5m"
    for series in prometheus.query(slow):
        assert 2**19 < float(series["value"][1]) * 1e9 < 2**20
    assert prometheus.query("ALERTS") == []
