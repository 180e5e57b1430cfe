"""The server: listening sockets, the routes of all families, and one place where failures become
answers.

Two lanes serve its connections: fast.py the requests for single keys, aiohttp_lane.py all others.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import http_exceptions, web

from kvgossip.api.access.client import NOBODY
from kvgossip.api.access.doors import Doors
from kvgossip.api.access.rights import Access, Caller, Right, bearer
from kvgossip.api.access.token_file import TokenFile
from kvgossip.api.http.openapi import document
from kvgossip.api.http.request_metrics import LoopDelay
from kvgossip.api.http.request_target import authority_of
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Route
from kvgossip.api.http.route_table import Match, RouteTable
from kvgossip.api.http.schema import OBJECT, TEXT
from kvgossip.api.keys import Keys
from kvgossip.api.lanes.aiohttp_lane import General, GeneralConnection
from kvgossip.api.lanes.connections import Connections
from kvgossip.api.lanes.fast import Lane
from kvgossip.api.lanes.overload import Door
from kvgossip.api.listening import PortInUseError, close_listener, listen, url_of
from kvgossip.api.listings import Listings
from kvgossip.api.routes.backup import BackupRoutes
from kvgossip.api.routes.batch import BatchRoutes
from kvgossip.api.routes.cluster import ClusterRoutes
from kvgossip.api.routes.conflicts import ConflictRoutes
from kvgossip.api.routes.console import ConsoleRoutes
from kvgossip.api.routes.consul import NOT_OFFERED, ConsulRoutes
from kvgossip.api.routes.consul_answer import ConsulAnswers
from kvgossip.api.routes.consul_cluster import ConsulClusterRoutes
from kvgossip.api.routes.differences import DifferenceRoutes
from kvgossip.api.routes.events import EventRoutes
from kvgossip.api.routes.folders import FolderRoutes
from kvgossip.api.routes.history import HistoryRoutes
from kvgossip.api.routes.kv import KeyRoutes
from kvgossip.api.routes.kv_edit import EditRoutes
from kvgossip.api.routes.overview import OverviewRoutes
from kvgossip.api.routes.releases import ReleaseRoutes
from kvgossip.api.routes.review import ReviewRoutes
from kvgossip.api.routes.sse import Hub
from kvgossip.api.routes.status import StatusRoutes
from kvgossip.api.routes.story import StoryRoutes
from kvgossip.api.routes.watch import WatchRoutes
from kvgossip.api.sampler import Sampler
from kvgossip.api.tls.certificates import Certificates
from kvgossip.api.tls.handshakes import Handshakes
from kvgossip.api.tls.link import TlsLink
from kvgossip.config import Address, Config
from kvgossip.extras import require
from kvgossip.runtime.network.listener import Listener

if TYPE_CHECKING:
    from kvgossip.api.routes.metrics import Metrics
    from kvgossip.runtime.node import Node

__all__ = ["DESCRIPTION", "FAMILIES", "ApiServer", "PortInUseError", "listen"]

READS = ("GET", "HEAD")
STOP_GRACE_S = 2.0
"""How long requests under way may take to finish when the server stops."""


class ServerRoutes(Family):
    """A server about itself: its description, and its metrics."""

    def __init__(
        self,
        node: Node,
        answers: Answers,
        connections: Connections,
        delay: LoopDelay,
        watching: WatchRoutes,
        access: Access,
        certificates: Certificates | None,
    ) -> None:
        self._node, self._answers, self._connections = node, answers, connections
        self._delay, self._watching = delay, watching
        self._access, self._certificates = access, certificates
        self._metrics: Metrics | None = None

    async def describe(self, call: Call) -> Answer:
        return self._answers.json(200, DESCRIPTION)

    async def metrics(self, call: Call) -> Answer:
        """Everything that can be counted, for Prometheus."""
        if self._metrics is None:
            # a server that is never scraped does not load it
            require("prometheus_client", "/metrics")
            from kvgossip.api.routes.metrics import Metrics

            self._metrics = Metrics(
                self._node,
                self._connections,
                self._delay,
                self._watching,
                self._access,
                self._certificates,
            )
        text, content_type = self._metrics.render(call.request)
        return self._answers.octets(200, text, f"Content-Type: {content_type}\r\n")

    ROUTES = (
        Route("GET", "/openapi.json", describe, Right.ANY, "This description.", OBJECT),
        Route(
            "GET",
            "/metrics",
            metrics,
            Right.METRICS,
            "Everything that can be counted, for Prometheus.",
            TEXT,
            content_type="text/plain",
        ),
    )


FAMILIES: tuple[type[Family], ...] = (
    KeyRoutes,
    EditRoutes,
    FolderRoutes,
    BatchRoutes,
    HistoryRoutes,
    ConflictRoutes,
    StoryRoutes,
    DifferenceRoutes,
    ReleaseRoutes,
    WatchRoutes,
    StatusRoutes,
    ReviewRoutes,
    OverviewRoutes,
    EventRoutes,
    ClusterRoutes,
    BackupRoutes,
    ServerRoutes,
    ConsulRoutes,
    ConsulClusterRoutes,
    ConsoleRoutes,
)
DESCRIPTION = document(route for family in FAMILIES for route in family.ROUTES)


def _tokens_of(config: Config) -> TokenFile | None:
    return TokenFile(config.tokens) if config.tokens else None


class ApiServer:
    """Serves `node` on `listeners`, of TCP or unix sockets (listening.py), between `start()` and
    `stop()`; it owns the sockets, not the node. With `certificates` it speaks TLS on those of
    TCP."""

    def __init__(
        self,
        node: Node,
        *listeners: socket.socket,
        tokens: TokenFile | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._node, self._sockets, self._certificates = node, listeners, certificates
        self._doors, self._access = Doors(node.config), Access(tokens or _tokens_of(node.config))
        self._answers = answers = Answers(node)
        self._hub, self._delay, self._connections = Hub(), LoopDelay(), Connections(node.config)
        self._watching = watching = WatchRoutes(node, answers, self._hub)
        self._events = EventRoutes(node, answers, watching)
        requests = self._connections.requests
        self._sampler = Sampler(node.status, node.lag_counts, requests, self._delay)
        self._keys = Keys(node, answers, self._access)
        cluster, consul = ClusterRoutes(node, answers), ConsulAnswers(node, answers)
        self.left = cluster.left
        status = StatusRoutes(
            node, answers, watching.statistics, self.statistics, self._access.status, self._tls
        )
        self._routes = RouteTable(
            (
                KeyRoutes(node, self._keys, answers),
                EditRoutes(node, self._keys, answers),
                FolderRoutes(node, answers),
                BatchRoutes(node, self._keys, answers),
                HistoryRoutes(node, answers),
                ConflictRoutes(node, answers),
                StoryRoutes(node, answers),
                DifferenceRoutes(node, answers),
                ReleaseRoutes(node, answers),
                watching,
                status,
                ReviewRoutes(node, answers),
                OverviewRoutes(node, answers, self._sampler),
                self._events,
                cluster,
                BackupRoutes(node, answers),
                ServerRoutes(
                    node,
                    answers,
                    self._connections,
                    self._delay,
                    watching,
                    self._access,
                    certificates,
                ),
                ConsulRoutes(node, consul, watching, Listings(node, self._connections.room)),
                ConsulClusterRoutes(node, consul),
                ConsoleRoutes(answers),
            ),
            node.config,
            (NOT_OFFERED,),
        )
        self._listeners: list[Listener] = []
        self._general: General | None = None

    @property
    def address(self) -> Address:
        """The first of TCP. Raises StopIteration where there is none."""
        names = (each.getsockname() for each in self._sockets)
        host, port = next(name[:2] for name in names if not isinstance(name, str))
        return Address(host, port)

    @property
    def urls(self) -> list[str]:
        """Where clients of this machine reach it."""
        scheme = "http" if self._certificates is None else "https"
        return [url_of(each, scheme) for each in self._sockets]

    async def start(self) -> None:
        config, connections, answers = self._node.config, self._connections, self._answers
        general = self._general = General(self.answer, config, answers, connections)
        lane = partial(Lane, config, self._keys, answers, connections, general, self._doors)
        secured = self._secured(lane)
        for each in self._sockets:
            each.setblocking(False)
            # who may open a unix socket is of this machine: nobody listens in between
            over_tls = None if each.family == socket.AF_UNIX else secured
            door = Door(connections, answers, tls=over_tls is not None)
            self._listeners.append(
                Listener(each, over_tls or lane, connections.counts, door.turns_away)
            )
        connections.start()
        self._delay.start()
        self._sampler.start()
        self._node.tell_tokens(self._access.fingerprint)
        self._access.start(self._tokens_changed)

    def reload_tokens(self) -> None:
        """Read the tokens file again soon, where there is one. A mistake in it changes nothing, and
        is logged."""
        self._access.reload()

    def _tokens_changed(self) -> None:
        self._node.tell_tokens(self._access.fingerprint)
        self._hub.review()
        self._events.audience.review()

    def _secured(self, lane: Callable[[], Lane]) -> Callable[[], asyncio.Protocol] | None:
        """The lane behind TLS, where there is a certificate."""
        if self._certificates is None:
            return None
        self._certificates.start()
        self._node.add_notices(self._certificates.notices)
        return partial(
            TlsLink, self._certificates.context, lane, Handshakes(), self._connections.counts
        )

    def reload_certificates(self) -> None:
        """Read the files of the certificate again, where there is one. What is wrong with them is
        logged."""
        if self._certificates is not None:
            self._certificates.reload()

    async def stop(self) -> None:
        """Takes no more requests, lets those under way finish for a moment, and closes the
        sockets."""
        self._delay.stop()
        self._sampler.stop()
        await self._access.stop()
        if self._certificates is not None:
            self._certificates.stop()
        await asyncio.gather(self._hub.close(), self._events.audience.close())
        if self._general is not None:
            await asyncio.gather(*(each.close() for each in self._listeners))
            await asyncio.gather(
                self._connections.close(STOP_GRACE_S), self._general.shutdown(STOP_GRACE_S)
            )
        self._access.audit.close()
        for each in self._sockets:
            close_listener(each)

    def statistics(self) -> dict[str, int]:
        """How many connections there are, and what became of all so far and of their requests, by
        name."""
        return {"connections_open": len(self._connections), **self._connections.counts}

    def _tls(self) -> dict[str, Any] | None:
        return None if self._certificates is None else self._certificates.status()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to any request, and how long it took."""
        started_s = time.perf_counter()
        match = self._routes.find(request.raw_path)
        answer = await self._answer(match, request)
        self._connections.requests.observe(
            match.family, answer.status, time.perf_counter() - started_s
        )
        return answer

    async def _answer(self, match: Match, request: web.BaseRequest) -> web.StreamResponse:
        """Every failure that is not the connection's own becomes an answer."""
        try:
            caller = self._caller_of(match, request)
            hosts = [*request.headers.getall("Host", ()), authority_of(request.raw_path)]
            with caller.noting_refusals():
                self._doors.check(caller.client, request.method, match.path, hosts, request.headers)
            answer = await self._routes.answer(match, request, caller)
            if isinstance(answer, Answer) and request.method in READS:
                answer.take_room(self._connections.room, caller.client.address)
            return answer
        except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as error:
            return self._answers.problem(
                400, f"the body cannot be read: {type(error).__name__}", "nothing was changed"
            )
        except ConnectionError:
            raise
        except Exception as error:
            # without the query, which may have a token
            return self._answers.failure(error, request.method, match.path)

    def _caller_of(self, match: Match, request: web.BaseRequest) -> Caller:
        connection, headers = request.protocol, request.headers
        client = connection.client if isinstance(connection, GeneralConnection) else NOBODY
        secrets = [
            *match.secrets,
            *(bearer(_octets(value)) for value in headers.getall("Authorization", ())),
            *(_octets(value) for value in headers.getall("X-Consul-Token", ())),
        ]
        return self._access.caller(secrets, client, f"{request.method} {match.path}")


def _octets(value: str) -> bytes:
    """The bytes of a header as aiohttp has read it."""
    return value.encode("utf-8", "surrogateescape")
