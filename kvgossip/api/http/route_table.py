"""The table of routes: from a request's target to its handler.

It is our own: two dozen fixed paths and three prefixes need no router, and a path must not be
normalised before it is a key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from aiohttp import http_exceptions, web

from kvgossip.api.access.doors import refuse_remote
from kvgossip.api.access.rights import Caller, Right
from kvgossip.api.http.errors import RequestError, status_of, wrong_method
from kvgossip.api.http.request_target import parameters, split_target, without_tokens
from kvgossip.api.http.route import KEY_END, Call, Family, Route
from kvgossip.api.http.switch import is_on
from kvgossip.config import Config
from kvgossip.config.exposure import has_tokens
from kvgossip.errors import KVGossipError

OTHER = "other"
"""The family of requests that find no route."""


class NotOffered(NamedTuple):
    """A prefix whose paths are refused with a reason of their own where they are no routes."""

    prefix: str
    family: str
    """The family that these requests are counted under."""
    summary: str
    """The paths that it has, to be read behind "there are ... and"."""
    error_of: Callable[[str], RequestError]
    """Why there is no such path."""


class Bound(NamedTuple):
    """A route, and its handler with the object that serves it."""

    route: Route
    handler: Callable[[Call], Awaitable[web.StreamResponse]]
    query_names: tuple[str, ...]
    switches: tuple[str, ...]


class Match(NamedTuple):
    """The path that a target means."""

    path: str
    methods: Mapping[str, Bound]
    """The routes of the path by method; empty where there is no such path."""
    key: str
    """Still encoded; empty where the path has none."""
    query: str
    """Without the tokens in it."""
    secrets: list[bytes]
    """These tokens."""
    family: str
    """The request is counted under this name, of which there are few, whatever is asked."""


class RouteTable:
    """The routes of these families. Raises ValueError where two declare the same."""

    def __init__(
        self, families: Iterable[Family], config: Config, not_offered: Sequence[NotOffered] = ()
    ) -> None:
        self._config, self._not_offered = config, not_offered
        #: The methods of every path, as it is declared.
        self.paths: dict[str, dict[str, Bound]] = {}
        for family in families:
            for route in family.ROUTES:
                self._add(route, family)
        self._fixed = {path: methods for path, methods in self.paths.items() if KEY_END not in path}
        self._fixed |= {
            path.removesuffix(KEY_END): methods
            for path, methods in self.paths.items()
            if any(bound.route.key_optional for bound in methods.values())
        }
        self._prefixes = tuple(
            (path.removesuffix("{key}"), methods)
            for path, methods in self.paths.items()
            if KEY_END in path
        )

    def _add(self, route: Route, family: Family) -> None:
        methods = self.paths.setdefault(route.path, {})
        if route.method in methods:
            raise ValueError(f"{route.method} {route.path} is declared twice")
        bound = Bound(route, partial(route.handler, family), route.query_names, route.switches)
        methods[route.method] = bound
        if route.method == "GET":
            methods["HEAD"] = bound

    def find(self, target: str) -> Match:
        """Never fails: a path that is not there has no methods."""
        path, query = split_target(target)
        query, secrets = without_tokens(query)
        for prefix, methods in self._prefixes:
            if path.startswith(prefix):
                return Match(
                    path, methods, path[len(prefix) :], query, secrets, _family(methods, query)
                )
        found = self._fixed.get(path)
        if found is not None:
            return Match(path, found, "", query, secrets, _family(found, query))
        families = (each.family for each in self._not_offered if path.startswith(each.prefix))
        return Match(path, {}, "", query, secrets, next(families, OTHER))

    async def answer(
        self, match: Match, request: web.BaseRequest, caller: Caller
    ) -> web.StreamResponse:
        """The answer of the route's handler. Raises RequestError where there is none, or where it
        does not take this query; AccessError where the caller lacks its right."""
        bound = match.methods.get(request.method)
        if bound is None:
            caller.must(Right.ANY)
            if not match.methods:
                raise self._no_such(match.path)
            raise wrong_method(request.method, match.methods)
        route = bound.route
        # of those with a scope only who is known learns what is wrong with the request
        caller.must(route.right)
        if route.local and not has_tokens(self._config):
            with caller.noting_refusals():
                refuse_remote(caller.client, request.headers)
        query = parameters(match.query, bound.query_names) if match.query else {}
        for name in bound.switches:
            # also one that the handler does not ask for
            if name in query:
                is_on(name, query[name])
        call = Call(request, route, self._config, match.key, query, caller.client, caller)
        if route.scope is None:
            return await (_audited(bound, call) if route.is_audited else bound.handler(call))
        scope = route.scope(call)
        caller.must(route.right, scope)
        answer = await bound.handler(call)
        if route.right is Right.READ:
            # it may have waited, and other tokens may hold since
            caller.must(Right.READ, scope)
        return answer

    def _no_such(self, path: str) -> RequestError:
        for each in self._not_offered:
            if path.startswith(each.prefix):
                return each.error_of(path)
        hidden = tuple(each.prefix for each in self._not_offered)
        shown = [path for path in self.paths if not path.startswith(hidden)]
        others = [f"and {each.summary}" for each in self._not_offered]
        return RequestError(404, f"there is no {path}", f"there are {', '.join([*shown, *others])}")


async def _audited(bound: Bound, call: Call) -> web.StreamResponse:
    status = 500
    try:
        answer = await bound.handler(call)
        status = answer.status
        return answer
    except KVGossipError as error:
        status = status_of(error)
        raise
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError):
        status = 400
        raise
    finally:
        call.caller.did(status)


def _family(methods: Mapping[str, Bound], query: str) -> str:
    route = next(iter(methods.values())).route
    return (query and route.counted_with_query_as) or route.family
