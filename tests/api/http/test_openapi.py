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
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kvgossip.api.http.schema import OBJECT
from kvgossip.api.server import DESCRIPTION, FAMILIES
from tests.api.access.tokens_file import KINDS, make_tokens
from tests.api.serving import Served

CASES = int(os.environ.get("KVGOSSIP_TEST_API_CASES", "200"))
# A stream does not end; the others would end the node, or let it dial what chance made up.
NOT_TRIED = ("/watch", "/events", "/leave", "/join")
TRIED = [
    (path, method, mode)
    for path, methods in DESCRIPTION["paths"].items()
    if path not in NOT_TRIED
    for method, operation in methods.items()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    # what takes nothing, or any path, cannot be given anything wrong
    if mode is GenerationMode.POSITIVE
    or ({"parameters", "requestBody"} & set(operation) and path != "/ui/{key}")
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


def test_generated_clients_have_a_name_a_tag_a_type_and_an_example_for_each_operation() -> None:
    operations = [
        (path, operation)
        for path, methods in DESCRIPTION["paths"].items()
        for operation in methods.values()
    ]
    names = [operation["operationId"] for _, operation in operations]
    assert len(set(names)) == len(names)
    for path, operation in operations:
        assert len(operation["tags"]) == 1
        answers = (each.get("content", {}) for each in operation["responses"].values())
        for content in (*answers, operation.get("requestBody", {}).get("content", {})):
            told = content.get("application/json", {})
            if "example" in told:
                schema = {**told["schema"], "components": DESCRIPTION["components"]}
                jsonschema_rs.validate(schema, told["example"])
        # Consul's own pages tell of its routes
        if not path.startswith(("/v1/", "/openapi.json")):
            given = operation["responses"]["200"]["content"].get("application/json")
            assert given is None or ("example" in given and given["schema"] != OBJECT), path
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            assert not body or "example" in body, path


@contextmanager
def agent(*options: str, log: IO[bytes] | None = None) -> Iterator[str]:
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
        *options,
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
    ) as agent:
        try:
            assert agent.stdout is not None
            yield str(json.loads(agent.stdout.readline())["url"])
            agent.communicate(timeout=60)
        finally:
            agent.kill()
    assert agent.returncode == 0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with agent() as url:
        yield url


def without_token(case: Any) -> None:
    """One that chance has made up is refused."""
    if isinstance(case.query, dict):
        case.query.pop("token", None)


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
        without_token(case)
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=30)

    keeps()


# -- with tokens -----------------------------------------------------------------------------------

PLANTED = b"PLANTED"


class Planted(NamedTuple):
    """An agent that asks for tokens, with secrets under prefixes that none but `admin` reads."""

    url: str
    secrets: dict[str, str]
    log: Path

    def headers(self, kind: str) -> dict[str, str]:
        secret = self.secrets.get(kind)
        return {} if secret is None else {"Authorization": f"Bearer {secret}"}

    def ask(self, method: str, target: str, body: bytes | None = None) -> bytes:
        """As the admin."""
        asked = urllib.request.Request(
            self.url + target, body, self.headers("admin"), method=method
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return bytes(answer.read())


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("tokens")
    secrets = make_tokens(folder / "tokens", *KINDS.values()) | {"unknown": "kvgossip_nobodys"}
    log = folder / "log"
    with log.open("wb") as file, agent("--tokens", str(folder / "tokens"), log=file) as url:
        found = Planted(url, secrets, log)
        for key in ("secret/PLANTED", "PLANTED", "ap/PLANTED", "zz/PLANTED"):
            for value in (b"PLANTED 1", b"PLANTED 2"):
                found.ask("PUT", f"/kv/{key}", value)
        found.ask("PUT", "/kv/app/a", b"1")
        yield found


@pytest.mark.parametrize("kind", [*KINDS, "unknown", "none"])
def test_no_token_gets_what_it_may_not_see_nor_fails_the_server_whatever_is_asked(
    kind: str, planted: Planted
) -> None:
    described = schemathesis.openapi.from_dict(DESCRIPTION)
    described.config.generation.with_security_parameters = False
    operations = [described[path][method.upper()] for path, method, _ in TRIED]

    @settings(
        max_examples=math.ceil(CASES / len(KINDS)),
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.one_of([each.as_strategy() for each in operations]), st.booleans())
    def gets_nothing(case: Any, of_app: bool) -> None:
        without_token(case)
        if of_app and "key" in (case.path_parameters or {}):
            case.path_parameters["key"] = "app/a"
        answer = case.call(base_url=planted.url, headers=planted.headers(kind), timeout=30)
        assert answer.status_code not in (500, 501), answer.content
        if kind != "admin":
            assert PLANTED not in answer.content + str(answer.headers).encode()

    gets_nothing()
    if kind != "admin":
        assert PLANTED not in planted.log.read_bytes()
        assert planted.ask("GET", "/kv/zz/PLANTED") == b"PLANTED 2"
