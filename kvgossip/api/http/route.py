"""Routes: everything that is fixed of a route stands in its Route, and nowhere else.

A family of routes is a class with handlers; its `ROUTES` stand behind them. From all of these
follow the table that finds a request's handler (route_table.py), the description of the API
(openapi.py), the query parameters that a path takes, how long a body may be, and the family under
which requests are counted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import msgspec
from aiohttp import web

from kvgossip.api.access.audit import described
from kvgossip.api.access.client import Client
from kvgossip.api.access.rights import Caller, Right, Scope
from kvgossip.api.http.body import COMMAND_BYTES_MAX, Command, parse_command, read_body
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.schema import SWITCH, Schema
from kvgossip.api.http.switch import is_on
from kvgossip.config import Config

KEY_END = "/{key}"
"""The end of a path that takes a key."""


class Parameter(NamedTuple):
    """A parameter that a route takes. `place`: path, query or header."""

    place: str
    name: str
    schema: Schema
    description: str
    offered: bool = True
    """False: the route knows it to refuse it, and the description leaves it out."""


class Body(NamedTuple):
    """The body that a route takes.

    `kind`: a structure as JSON, or the schema of raw bytes. `bytes_max`: how long it may be.
    `hint`: what to send, for a client that sends another. `example`: one that fits.
    """

    kind: type[msgspec.Struct] | Schema
    hint: str = ""
    bytes_max: Callable[[Config], int] = lambda config: COMMAND_BYTES_MAX
    example: Any = None


class Call(NamedTuple):
    """A request that has found its route."""

    request: web.BaseRequest
    route: Route
    config: Config
    key: str
    """As the path has it, still encoded; empty where the path has none."""
    query: dict[str, str]
    """The query parameters that were given, all of them known to the route."""
    client: Client
    caller: Caller
    """It has the right of the route, for the keys of its scope."""

    def is_on(self, name: str) -> bool:
        """True if this switch is given and not off. All switches were checked before."""
        return name in self.query and is_on(name, self.query[name])

    async def body(self) -> bytes:
        """The whole body. Raises ValueTooLargeError where it is longer than the route takes,
        RequestError(408) where it is late."""
        body = self.route.body
        assert body is not None, f"{self.route.method} {self.route.path} takes no body"
        return await read_body(
            self.request, body.bytes_max(self.config), self.config.http_body_timeout_s
        )

    async def command(self, kind: type[Command]) -> Command:
        """The body as the structure that the route takes. Raises RequestError(400) where it is
        none."""
        body = self.route.body
        assert body is not None
        assert body.kind is kind, f"{self.route.method} {self.route.path} takes {body.kind}"
        command = parse_command(await self.body(), kind, body.hint)
        if self.route.is_audited:
            self.caller.asked += f" {described(command)}"
        return command


Handler = Callable[[Any, Call], Awaitable[web.StreamResponse]]
"""A method of a family: its first argument is the family's object."""


@dataclass(frozen=True)
class Route:
    """One method of one path. HEAD goes wherever GET goes, and has no route of its own."""

    method: str
    #: Begins with a slash; `/{key}` at its end stands for a slash and any key.
    path: str
    handler: Handler
    right: Right
    #: The purpose of the route, in one line.
    summary: str
    #: The schema of its 200, or the structure that it is made of.
    answer: Schema | type[msgspec.Struct]
    #: Its other statuses, each with an error in JSON; 400, 500 and 503 are always among them.
    statuses: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    content_type: str = "application/json"
    #: Content types that it answers with as well, and the schemas of these.
    other_content: tuple[tuple[str, Schema], ...] = ()
    #: The schema of its 202, where it has one.
    accepted: Schema | None = None
    #: The schema of its 300, where it has one, and an example.
    several: tuple[Schema, Any] | None = None
    #: Those of `statuses` that have no body.
    bare: tuple[int, ...] = (304,)
    #: The keys that a READ or WRITE is about.
    scope: Callable[[Call], Scope] | None = None
    #: True if the path without `/{key}` is this route as well, with an empty key.
    key_optional: bool = False
    #: True if only clients of this machine may ask it, where there are no tokens.
    local: bool = False
    #: The family that its requests are counted under, where it is not the path.
    counted_as: str = ""
    #: The same for requests with a query, where that differs.
    counted_with_query_as: str = ""
    #: A 200 of it; None: it is no JSON.
    example: Any = None

    @property
    def is_audited(self) -> bool:
        """True if the audit log has a line of each request."""
        return self.right is Right.OPERATE

    @property
    def family(self) -> str:
        """Its name among the metrics."""
        return self.counted_as or self.path.removesuffix(KEY_END)[1:]

    @property
    def tag(self) -> str:
        """What generated clients group operations by: the module of its family, by its first
        word."""
        return self.handler.__module__.rpartition(".")[2].partition("_")[0]

    @property
    def operation(self) -> str:
        """What generated clients call it: its tag and its handler. It must not change."""
        name = self.handler.__name__.rstrip("_")
        return name if name == self.tag else f"{self.tag}_{name}"

    @property
    def switches(self) -> tuple[str, ...]:
        """Those of its query parameters that are on or off."""
        return tuple(each.name for each in self.parameters if each.schema is SWITCH)

    @property
    def query_names(self) -> tuple[str, ...]:
        """The query parameters that it takes."""
        return tuple(each.name for each in self.parameters if each.place == "query")


def key_in_path(call: Call) -> Scope:
    """The scope of a route whose path has a key."""
    return Scope(decode_key(call.key))


def prefix_in_query(call: Call) -> Scope:
    """The scope of a route that takes `?prefix=`."""
    return Scope(call.query.get("prefix", ""), is_prefix=True)


class Family:
    """Handlers that belong together, and their routes."""

    ROUTES: ClassVar[tuple[Route, ...]]
