"""ops/: the alerts fire when they should, and they and the dashboard ask for metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvgossip.api.routes.metric_families import _with_units_last
from kvgossip.api.routes.metrics import COUNTERS, _tls
from kvgossip.api.tls.certificates import Certificates
from kvgossip.config import Address
from tests.api.serving import Serve
from tests.api.tls.files import made, until

OPS = Path(__file__).parents[2] / "ops"
PAGE = (OPS.parent / "docs" / "operations.md").read_text(encoding="utf-8")
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((OPS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
TESTED: list[dict[str, Any]] = [
    each
    for test in yaml.safe_load((OPS / "alerts_test.yml").read_text())["tests"]
    for each in test["alert_rule_test"]
]
DASHBOARD: dict[str, Any] = json.loads((OPS / "grafana.json").read_text())
PROMETHEUS_OWN = {"up"}


def promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool: apt-get install prometheus")
    done = subprocess.run(
        ["promtool", *arguments], cwd=OPS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_at_the_fault_and_not_before_or_elsewhere() -> None:
    promtool("test", "rules", "alerts_test.yml")


def test_prometheus_takes_its_configuration() -> None:
    promtool("check", "config", "--syntax-only", "prometheus.yml")


def test_each_alert_has_its_test_its_words_and_what_to_do_on_the_page() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) > 15
    fired = {each["alertname"] for each in TESTED if each.get("exp_alerts")}
    assert fired == set(names)
    alerts = PAGE.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    sections = dict(
        re.findall(r"^### (KV\w+)\n\n(.*?)(?=^### |\Z)", alerts, re.MULTILINE | re.DOTALL)
    )
    assert list(sections) == names
    for name, text in sections.items():
        assert len(text.split()) > 15, name
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert "{{" in rule["annotations"]["summary"]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["name"], variable["query"] if variable["type"] == "query" else "up"


def metrics_in(expression: str) -> set[str]:
    text = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:kvgossip|process)_\w+|\bup\b", text))


async def test_every_metric_that_is_asked_for_exists(serve: Serve, tmp_path: Path) -> None:
    anywhere = Address("127.0.0.1", 0)
    other = await serve("n2")
    served = await serve(
        gateway=True,
        wan=anywhere,
        data_dir=str(tmp_path / "data"),
        join=(str(other.node.address),),
        probe_interval_s=0.1,
        probe_timeout_s=0.05,
    )
    await served.call("PUT", "/kv/a", b"1")
    # these have no number before it is known
    names = ("last_exchange_age_s", "clock_ahead_s")
    await until(lambda: None not in map(served.node.status().get, names))
    text = (await served.call("GET", "/metrics")).body.decode()
    # a family whose labels nobody has now is there by its type alone
    known = set(re.findall(r"^(?:# TYPE )?(\w+)[{ ]", text, re.MULTILINE)) | PROMETHEUS_OWN
    # those of faults that have not happened
    known |= {f"kvgossip_{_with_units_last(name)}_total" for name in COUNTERS}
    known |= {metric.name for metric in _tls(Certificates(made(tmp_path)))}
    for place, expression in expressions():
        assert metrics_in(expression), place
        assert metrics_in(expression) - known == set(), place


def test_the_dashboard_can_be_imported() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    squares = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(squares) == len(set(squares)), "panels lie over each other"
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["targets"]
