"""The reference pages are whole: routes, commands and metrics stand on theirs, and no others do."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from kvgossip.api.routes.metrics import COUNTERS, GAUGES
from kvgossip.api.server import DESCRIPTION
from kvgossip.config import Address
from kvgossip.runtime.changes.follower import Kind
from tests.api.serving import Serve
from tests.docs.pages import DOCS, inline_code
from tools.make_commands import commands, page, tree

HTTP = (DOCS / "http.md").read_text(encoding="utf-8")
COMMANDS = (DOCS / "commands.md").read_text(encoding="utf-8")
METRICS = (DOCS / "operations.md").read_text(encoding="utf-8").partition("\n## Metrics\n")[2]
NAMES = set(re.findall(r"`((?:kvgossip|process)_[a-z_]+)[`{]", METRICS))
ROUTES = {
    f"{method.upper()} {path}"
    for path, methods in DESCRIPTION["paths"].items()
    for method in methods
}


# -- routes ----------------------------------------------------------------------------------------


def test_every_route_stands_on_its_page_and_no_other() -> None:
    assert set(re.findall(r"`((?:GET|PUT|POST|DELETE) /[^`]*)`", HTTP)) == ROUTES


def test_every_parameter_of_a_route_stands_on_the_page() -> None:
    named = {word for code in inline_code(DOCS / "http.md") for word in re.findall(r"[\w-]+", code)}
    for path, methods in DESCRIPTION["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                assert parameter["name"] in named, f"{parameter['name']} of {path}"


def test_every_status_and_event_stands_on_the_page() -> None:
    answers = {
        status
        for methods in DESCRIPTION["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
    }
    told = set(re.findall(r"^\| (\d{3}) \|", HTTP, re.MULTILINE))
    # any path may be asked with a wrong method
    assert told == answers | {"405"}
    events = HTTP.partition("| event | data | meaning |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", events, re.MULTILINE)) == {*Kind, "cut"}


# -- commands --------------------------------------------------------------------------------------


def test_the_command_reference_is_that_of_the_command_line() -> None:
    assert page() == COMMANDS, "make it anew: python -m tools.make_commands"


def test_every_command_stands_in_the_reference() -> None:
    titles = set(re.findall(r"^### (.*)$", COMMANDS, re.MULTILINE))
    assert titles == {" ".join(path) for path, _ in commands(tree()) if len(path) > 1}


# -- metrics ---------------------------------------------------------------------------------------


async def test_every_metric_stands_on_its_page(serve: Serve, tmp_path: Path) -> None:
    anywhere = Address("127.0.0.1", 0)
    served = await serve(gateway=True, wan=anywhere, data_dir=str(tmp_path / "data"))
    await served.call("PUT", "/kv/a?wait=1", b"1")
    text = (await served.call("GET", "/metrics")).body.decode()
    families = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert list(text_string_to_metric_families(text))
    assert len(families) > 50
    assert set(families) - NAMES == set()


def test_every_counter_and_gauge_that_has_a_text_stands_on_the_page() -> None:
    # units come last in the name of a metric
    named = {frozenset(name.split("_")) for name in NAMES}
    for name in GAUGES:
        assert frozenset(("kvgossip", *name.split("_"))) in named, name
    for name in COUNTERS:
        assert frozenset(("kvgossip", *name.split("_"), "total")) in named, name
