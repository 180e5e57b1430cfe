"""ops/kubernetes: what the API takes, of the routes, options and rights that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kvgossip.api.server import DESCRIPTION
from kvgossip.cli.settings import Sources, unknown_variables
from kvgossip.config.exposure import open_doors

FILE = Path(__file__).parents[2] / "ops" / "kubernetes" / "kvgossip.yaml"
RESOURCES: list[dict[str, Any]] = list(yaml.safe_load_all(FILE.read_text()))
VERSIONS = ("1.31", kubernetes_validate.latest_version())


def resource(kind: str) -> dict[str, Any]:
    return next(each for each in RESOURCES if each["kind"] == kind)


POD: dict[str, Any] = resource("StatefulSet")["spec"]["template"]["spec"]
(AGENT,) = POD["containers"]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_resource_fits_the_schema_of_the_api(version: str) -> None:
    kinds = [each["kind"] for each in RESOURCES]
    assert kinds == ["ConfigMap", "Service", "Service", "PodDisruptionBudget", "StatefulSet"]
    for each in RESOURCES:
        kubernetes_validate.validate(each, version, strict=True)


def test_a_mistake_in_a_resource_is_found() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**resource("StatefulSet"), "spec": {"replicas": "3"}}, "1.31")


def test_the_probes_ask_routes_that_need_no_token() -> None:
    for probe, path in {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }.items():
        assert AGENT[probe]["httpGet"] == {"path": path, "port": "https", "scheme": "HTTPS"}
        assert "get" in DESCRIPTION["paths"][path]


def test_the_agent_takes_its_file_and_is_open_to_nobody(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(resource("ConfigMap")["data"]["agent.toml"])
    environment = {each["name"]: each.get("value", "kvgossip-0") for each in AGENT["env"]}
    assert unknown_variables(environment) == []
    config = Sources({}, environment, file).read().config
    assert config.name == "kvgossip-0"
    assert open_doors(config) == ()
    assert config.tokens
    assert config.tls_cert
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in AGENT["volumeMounts"]}
    for path in (config.keyring, config.data_dir):
        assert mounts[str(Path(str(path)).parent)] is False, "a node writes it"
    for path in (config.tokens, config.tls_cert, config.tls_key):
        assert mounts[str(Path(path).parent)] is True
    names = [f"kvgossip-{number}.kvgossip:7481" for number in range(3)]
    assert list(config.join) == names


def test_the_selectors_find_the_pods() -> None:
    labels = resource("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    for each in RESOURCES:
        selector = each.get("spec", {}).get("selector")
        if selector is not None:
            assert selector.get("matchLabels", selector) == labels
