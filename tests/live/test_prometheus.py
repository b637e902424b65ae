"""Debian's Prometheus with our rules: what promtool says of them, and what is scraped in a lab."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvscope.lab.host.services import Synthetic
from nvscope.lab.processes import prometheus
from nvscope.lab.processes.prometheus import Prometheus, Target
from nvscope.lab.setup.prometheus import unpack
from tests.live.conftest import Observed
from tests.live.counts import UNMAPS, USER_MEM_ABORT, by_exporter, expected_at

ROOT = Path(__file__).resolve().parents[2]
ALERTS, RECORDING = (ROOT / "exporter/alerts" / name for name in ("alerts.yml", "recording.yml"))
CASES = Path(__file__).parent / "promtool"

VM = "scraped"
ON_LAB = pytest.mark.parametrize("observed", ["lab-fentry"], indirect=True)


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder with prometheus and promtool, fetched once."""
    return unpack()


def promtool(programs: Path, *arguments: str | Path) -> None:
    done = subprocess.run(
        [programs / "promtool", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_well_formed(programs: Path) -> None:
    promtool(programs, "check", "rules", "--lint=all", "--lint-fatal", ALERTS, RECORDING)


@pytest.mark.parametrize("cases", ["alerts.yml", "recording.yml"])
def test_each_rule_does_what_it_must(programs: Path, cases: str) -> None:
    promtool(programs, "test", "rules", CASES / cases)


class Scraped:
    """The series of a Prometheus, read as tests/live/counts.py reads a scrape's."""

    def __init__(self, server: Prometheus) -> None:
        self._server = server

    def sum(self, name: str, **labels: str) -> float:
        """The sum over the series of this name that have at least these labels."""
        matchers = ",".join(f'{label}="{value}"' for label, value in labels.items())
        return self._server.value(f"sum({name}{{{matchers}}})")


@pytest.fixture
def server(programs: Path, observed: Observed) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the lab host's exporter once a second."""
    targets = [Target(f"127.0.0.1:{observed.host.metrics_port}", labels={"cluster": "lab"})]
    with Prometheus(programs, prometheus.config(targets, [ALERTS, RECORDING], 1)) as server:
        server.wait_for(lambda: server.value('up{job="nvscope"}') == 1, "scraping", 30)
        yield server


@ON_LAB
def test_prometheus_has_the_ledgers_counts(observed: Observed, server: Prometheus) -> None:
    # Not all of them between two scrapes: a rate takes two samples.
    with Synthetic(observed.host, VM, "--unmaps", "47", "--pace", "0.1") as guest:
        facts = guest.facts(timeout=120)
        expected = expected_at(USER_MEM_ABORT, facts["expected"])
        del expected["reflected_aborts"]  # has no metric
        count = f'{UNMAPS}_count{{vm="{VM}"}}'
        server.wait_for(lambda: server.value(count) == 47, "having all 47 unmaps", 30)
        assert by_exporter(Scraped(server), VM, facts["shadow_ipa_bits"]) == expected
        assert_all_well(server)
        rate = "instance:nvscope_notifier_unmap_duration_seconds_count:rate5m"
        server.wait_for(lambda: server.value(rate) > 0, "recording rates", 30)
        # Of what rules have recorded: known when those of clusters are evaluated after that.
        of_cluster = f'cluster:{rate.removeprefix("instance:")}{{cluster="lab"}}'
        server.wait_for(lambda: server.value(of_cluster) > 0, "recording a cluster's rates", 30)
        guest.release()
        assert guest.wait() == 0


def assert_all_well(server: Prometheus) -> None:
    """No scrape and no rule has failed, and nothing fires."""
    (target,) = server.get("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert server.value('min_over_time(up{job="nvscope"}[5m])') == 1
    assert server.value("nvscope_up") == 1
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert {
        (rule["name"], rule.get("lastError", "")) for rule in rules if rule["health"] != "ok"
    } == set()
    assert server.query('ALERTS{alertstate="firing"}') == []
    assert server.log() == ""
