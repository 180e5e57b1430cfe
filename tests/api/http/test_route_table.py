"""The table of routes: every route answers and is counted under its family, none is declared twice,
and what is no route is refused with what there is."""

from __future__ import annotations

import pytest
from aiohttp import web

from kvgossip import Config
from kvgossip.api.access.rights import Right
from kvgossip.api.http.route import Call, Family, Route
from kvgossip.api.http.route_table import RouteTable
from kvgossip.api.routes.consul import NOT_OFFERED
from kvgossip.api.server import FAMILIES
from tests.api.serving import Served

ROUTES = [route for family in FAMILIES for route in family.ROUTES]
# A stream does not end, so its head is enough; a node that has left answers no more.
METHODS = {"/watch": "HEAD", "/events": "HEAD"}
ENDS = "/leave"


def target_of(route: Route) -> str:
    return route.path.replace("{key}", "a")


async def test_every_route_answers_and_is_counted_under_its_family(served: Served) -> None:
    requests = served.server._connections.requests
    for route in [route for route in ROUTES if route.path != ENDS]:
        method = METHODS.get(route.path, route.method)
        before = requests.counts
        reply = await served.call(method, target_of(route), b"" if method == "PUT" else None)
        assert reply.status not in (405, 500), (route.path, reply)
        if reply.status in (404, 501):
            assert b"there is no /" not in reply.body, route.path
            assert b"not offered" not in reply.body, route.path
        counted = (route.family, str(reply.status))
        assert requests.counts[counted] == before.get(counted, 0) + 1, route.path
    assert (await served.call("POST", ENDS)).json == {"left": True}


async def test_every_path_refuses_the_methods_it_lacks_and_names_those_it_has(
    served: Served,
) -> None:
    for path, methods in served.server._routes.paths.items():
        reply = await served.call("PATCH", path.replace("{key}", "a"))
        assert reply.status == 405
        assert reply.headers["allow"] == ", ".join(methods)


async def test_every_path_refuses_a_query_parameter_that_none_of_its_routes_takes(
    served: Served,
) -> None:
    for route in ROUTES:
        method = METHODS.get(route.path, route.method)
        reply = await served.call(method, f"{target_of(route)}?nobody=1", b"")
        assert reply.status == 400, route.path
        if method != "HEAD":
            assert reply.json["error"] == "unknown query parameter 'nobody'"
            if route.query_names:
                assert reply.json["hint"] == f"known here: {', '.join(route.query_names)}"


async def test_every_post_refuses_the_page_of_another_site(served: Served) -> None:
    for route in [route for route in ROUTES if route.method == "POST"]:
        reply = await served.call("POST", target_of(route), b"{}", Origin="http://evil.example")
        assert reply.status == 403, route.path


async def test_what_is_no_path_is_404_with_all_paths_but_consuls(served: Served) -> None:
    reply = await served.call("GET", "/nowhere")
    assert (reply.status, reply.json["error"]) == (404, "there is no /nowhere")
    for route in ROUTES:
        assert (f"{route.path}," in reply.json["hint"]) == (not route.path.startswith("/v1/"))
    assert reply.json["hint"].endswith(f", and {NOT_OFFERED.summary}")
    assert served.server._connections.requests.counts["other", "404"] == 1


async def test_what_is_not_offered_of_consuls_is_501_and_counted_as_consuls(
    served: Served,
) -> None:
    assert (await served.call("GET", "/v1/session/list")).status == 501
    assert served.server._connections.requests.counts["consul", "501"] == 1


class Twice(Family):
    async def answer(self, call: Call) -> web.StreamResponse:
        return web.StreamResponse()

    ROUTES = (
        Route("GET", "/a", answer, Right.OPEN, "", {}),
        Route("GET", "/a", answer, Right.OPEN, "", {}),
    )


def test_a_route_that_is_declared_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="GET /a is declared twice"):
        RouteTable((Twice(),), Config())


def test_only_what_says_nothing_of_the_data_needs_no_right() -> None:
    open_paths = {route.path for route in ROUTES if route.right is Right.OPEN}
    assert open_paths == {"/healthz", "/readyz", "/ui/{key}"}
    for route in ROUTES:
        if route.right is Right.READ:
            assert route.method == "GET", route.path
        if route.right in (Right.READ, Right.WRITE):
            assert route.scope is not None, route.path
        else:
            assert route.scope is None, route.path
