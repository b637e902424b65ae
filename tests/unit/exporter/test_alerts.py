"""Rules name what the exporter has, each is tried by promtool, and each alert is in the runbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nvscope.probes.counts.decode import LOSSES, RECURSION
from nvscope.probes.points.catalog.points import BY_NAME, applicable
from tests.unit.exporter.promql import Names, exported, problems, used

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "exporter/alerts"
CASES = ROOT / "tests/live/promtool"


def _rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _cases(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load((CASES / name).read_text())["tests"])


ALERTS, RECORDED = _rules("alerts.yml"), _rules("recording.yml")


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    """Metrics of the exporter, and those that the recording rules make of them."""
    served = exported(tmp_path, monkeypatch)
    return served | {rule["record"]: _labels(rule, served) for rule in RECORDED}


def _labels(rule: dict[str, Any], served: Names) -> dict[str, set[str]]:
    """Those that a recorded metric's name tells, with the values of the one it was made of."""
    level, metric, _ = rule["record"].split(":")
    kept = set(level.split("_")[1:])
    if not kept:
        return {}
    names = (name for name in (f"{metric}_total", f"{metric}_count", metric) if name in served)
    source = served[next(names)]
    return {label: source[label] for label in kept}


def test_rules_name_what_is_there(names: Names) -> None:
    wrong = [p for rule in (*RECORDED, *ALERTS) for p in problems(rule["expr"], names)]
    assert wrong == []


def test_what_is_not_there_is_found(names: Names) -> None:
    for expression, problem in (
        ("rate(nvscope_nothing_total[5m])", "no metric nvscope_nothing_total"),
        ('nvscope_vm_info{mv="x"}', "nvscope_vm_info has no label mv"),
        (
            'nvscope_shadow_unmaps_total{scope="half"}',
            "nvscope_shadow_unmaps_total is never with scope=half",
        ),
        ("sum by (mv) (nvscope_vm_info)", "no label mv in sum by (mv) (nvscope_vm_info)"),
        ("nvscope_up + on (mv) up", "no label mv in nvscope_up + on (mv) up"),
    ):
        assert list(problems(expression, names)) == [problem]


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule["record"])
def test_a_recorded_name_is_level_metric_operations(rule: dict[str, Any]) -> None:
    level, metric, operations = rule["record"].split(":")
    assert level.split("_")[0] in ("instance", "cluster")
    assert metric.startswith("nvscope_")
    assert re.fullmatch(r"((p50_|p99_|ratio_)?rate5m|sum)", operations)
    assert "_total" not in rule["record"]


def test_the_cases_meet_every_rule() -> None:
    tried = {
        metric
        for case in _cases("recording.yml")
        for check in case["promql_expr_test"]
        for metric, _ in used(check["expr"]).selectors
    }
    assert tried == {rule["record"] for rule in RECORDED}
    checks = [check for case in _cases("alerts.yml") for check in case["alert_rule_test"]]
    every = {rule["alert"] for rule in ALERTS}
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == every
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == every


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"RUNBOOK.md#{rule['alert'].lower()}"


def test_the_runbook_has_each_alert_and_no_other() -> None:
    text = (RULES / "RUNBOOK.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [section.split()[0] for section in sections] == [rule["alert"] for rule in ALERTS]
    for section in sections:
        assert "Look: " in section
        assert "Do" in section
    anchors = set(re.findall(r"\(#(\w+)\)", text))
    assert anchors <= {rule["alert"].lower() for rule in ALERTS}


def test_the_runbook_has_each_cause_of_a_loss() -> None:
    text = (RULES / "RUNBOOK.md").read_text()
    section = text.partition("## NvscopeEventsLost")[2].partition("\n## ")[0]
    for cause in (*LOSSES, RECURSION):
        assert f"`{cause}`" in section, cause


def test_probes_that_need_not_be_attached_raise_no_alert() -> None:
    (rule,) = (rule for rule in ALERTS if rule["alert"] == "NvscopeProbeNotAttached")
    excepted = re.search(r'probe!~"([\w|]+)"', rule["expr"])
    assert excepted
    optional = {name for name in applicable("maple") if BY_NAME[name].optional}
    assert set(excepted[1].split("|")) == optional


def test_rules_of_a_host_keep_the_targets_labels() -> None:
    of_hosts = [rule for rule in RECORDED if rule["record"].startswith("instance")]
    assert of_hosts
    for rule in of_hosts:
        assert not re.search(r"\b(by|on)\b", rule["expr"]), "a label of the target is lost"
