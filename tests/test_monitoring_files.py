"""The alert rules, the dashboard and the page about them speak of the metrics that there are, and of no others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from snapshot_parts import snapshot

from syncer.daemon.metrics import exposition

HOUSE = Path(__file__).parents[1]
RULES = HOUSE / "config/prometheus-alerts.yml"
RULE_TESTS = HOUSE / "tests/prometheus-alerts.test.yml"
DASHBOARD = HOUSE / "config/grafana-dashboard.json"
PAGE = (HOUSE / "docs/monitoring.md").read_text()

Labels = frozenset[str]


def emitted() -> dict[str, tuple[str, Labels]]:
    """Every metric of a daemon that knows all, as scrapers name it: its type and its labels."""
    text, _ = exposition(snapshot())
    return {
        sample.name: (family.type, frozenset(sample.labels))
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def expressions(node: Any) -> list[str]:
    """Every query of a dashboard, wherever it stands."""
    if isinstance(node, list):
        return [found for one in node for found in expressions(one)]
    if not isinstance(node, dict):
        return []
    own = [text for key in ("expr", "query") if isinstance(text := node.get(key), str)]
    return own + [found for one in node.values() for found in expressions(one)]


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:syncer|process)_\w+", re.sub(r'"[^"]*"', '""', expression)))


def matched(expression: str) -> set[tuple[str, str]]:
    """Which labels an expression selects a metric by."""
    return {
        (metric, label)
        for metric, selectors in re.findall(r"\b((?:syncer|process)_\w+)\{([^}]*)\}", expression)
        for label in re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', "", selectors))
    }


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    return [rule["expr"] for rule in rules()] + expressions(json.loads(DASHBOARD.read_text()))


def test_every_metric_that_is_asked_for_is_there():
    """With the labels that it is asked for by; those of the scrape itself aside."""
    there = emitted()
    for query in queries():
        assert named(query) <= there.keys(), query
        for metric, label in matched(query):
            assert label in there[metric][1] | {"job", "instance"}, query


def test_every_metric_is_documented():
    """With its type and its labels, and nothing that is not there."""
    found = re.findall(r"^\| `(syncer_\w+)` \| (\w+) \|(.*?)\| (\S.*) \|$", PAGE, re.MULTILINE)
    told = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in found}

    assert told == {name: what for name, what in emitted().items() if name.startswith("syncer_")}
    assert len(found) == len(told)


def test_every_value_of_a_label_is_documented():
    """The states, causes, modes and outcomes that a query can ask for."""
    text, _ = exposition(snapshot())
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            row = next((line for line in PAGE.splitlines() if line.startswith(f"| `{sample.name}` ")), "")
            for label in sample.labels.keys() & {"state", "cause", "outcome", "scope"}:
                assert f"`{sample.labels[label]}`" in row, sample


def test_the_page_names_only_metrics_that_there_are():
    """In its examples too; one of them makes a metric of its own."""
    assert named(PAGE) - {"syncer_status"} <= emitted().keys()


def test_every_alert_tells_a_person_what_to_do():
    """A severity, a line, and a paragraph."""
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]


def test_every_alert_is_shown_to_fire_and_to_be_quiet():
    """By a unit test of the rules each."""
    names = [test["name"] for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]]
    for rule in rules():
        for verdict in ("fires", "is quiet"):
            assert f"{rule['alert']} {verdict}" in names


def test_the_dashboard_can_be_imported():
    """Panels with ids and places of their own, each asking the chosen data source something."""
    board = json.loads(DASHBOARD.read_text())
    panels = board["panels"]

    assert board["schemaVersion"] >= 36
    assert {"title", "uid", "templating", "time", "panels"} <= board.keys()
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    places = set()
    for panel in panels:
        assert panel["title"] and panel["targets"], panel["id"]
        assert set(re.findall(r"\$\{?(\w+)", json.dumps(panel))) - {"__rate_interval"} <= variables
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not places & cells, panel["title"]
        places |= cells
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"


def promtool(*arguments: object) -> str:
    """Run promtool to its end; returns what it says if it is not content."""
    found = shutil.which("promtool")
    if found is None:
        (pytest.fail if os.environ.get("SYNCER_CI") else pytest.skip)("promtool is not installed")
    done = subprocess.run([str(found), *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_promtool_reads_the_rules():
    """And finds nothing wrong, templates included."""
    assert promtool("check", "rules", RULES) == ""


def test_the_expressions_of_the_dashboard_are_queries(tmp_path: Path):
    """Each is a rule that Prometheus takes, once Grafana has put its variables in."""
    found = expressions(json.loads(DASHBOARD.read_text())["panels"])
    written = [{"record": f"panel:{n}", "expr": text.replace("$__rate_interval", "5m")} for n, text in enumerate(found)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": written}]}))

    assert len(found) > 20
    assert promtool("check", "rules", file) == ""


@pytest.mark.slow
def test_the_rules_pass_their_tests():
    """Each alert fires where it has to, and nowhere else."""
    assert promtool("test", "rules", RULE_TESTS) == ""
