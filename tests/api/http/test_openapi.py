"""The description of the API: it has every route and no other, and the API keeps to it, whatever
schemathesis makes of it.

Ten thousand requests instead of a few hundred: KVGOSSIP_TEST_API_CASES=10000 pytest
tests/api/http/test_openapi.py
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kvgossip.api.server import DESCRIPTION, FAMILIES
from tests.api.serving import Served

CASES = int(os.environ.get("KVGOSSIP_TEST_API_CASES", "200"))
# A stream does not end; the others would end the node, or let it dial what chance made up.
NOT_TRIED = ("/watch", "/leave", "/join")
TRIED = [
    (path, method, mode)
    for path, methods in DESCRIPTION["paths"].items()
    if path not in NOT_TRIED
    for method, operation in methods.items()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    # what takes nothing cannot be given anything wrong
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & set(operation)
]
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def test_the_description_has_every_route_and_no_other() -> None:
    routes = [(route.path, route.method.lower()) for family in FAMILIES for route in family.ROUTES]
    described = [
        (path, method) for path, methods in DESCRIPTION["paths"].items() for method in methods
    ]
    assert sorted(described) == sorted(routes)


async def test_the_description_is_served_and_is_openapi_3_1(served: Served) -> None:
    answer = await served.call("GET", "/openapi.json")
    assert answer.json == DESCRIPTION
    assert answer.json["openapi"] == "3.1.0"
    for schema in answer.json["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    text = json.dumps(answer.json)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in answer.json["components"]["schemas"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where an agent of its own process answers."""
    command = [
        sys.executable,
        "-m",
        "kvgossip",
        "agent",
        "--http",
        "127.0.0.1:0",
        "--gossip",
        "127.0.0.1:0",
        "-o",
        "json",
        "--stop-on-eof",
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        try:
            assert agent.stdout is not None
            yield str(json.loads(agent.stdout.readline())["url"])
            agent.communicate(timeout=60)
        finally:
            agent.kill()
    assert agent.returncode == 0


@pytest.mark.parametrize(("path", "method", "mode"), TRIED)
def test_the_api_keeps_to_its_description(
    path: str, method: str, mode: GenerationMode, url: str
) -> None:
    described = schemathesis.openapi.from_dict(DESCRIPTION)
    # this node has no tokens: those that chance made up are 501
    described.config.generation.with_security_parameters = False
    operation = described[path][method.upper()]

    @settings(
        max_examples=math.ceil(CASES / len(TRIED)),
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def keeps(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=30)

    keeps()
