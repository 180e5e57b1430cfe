"""The server: a listening socket, the routes of all families, and one place where failures become
answers.

Two lanes serve its connections: fast.py the requests for single keys, aiohttp_lane.py all others.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import http_exceptions, web

from kvgossip.api.access.client import NOBODY
from kvgossip.api.http.openapi import document
from kvgossip.api.http.request_metrics import LoopDelay
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.room import Room
from kvgossip.api.http.route import Call, Family, Right, Route
from kvgossip.api.http.route_table import Match, RouteTable
from kvgossip.api.http.schema import OBJECT, TEXT
from kvgossip.api.keys import Keys
from kvgossip.api.lanes.aiohttp_lane import General, GeneralConnection
from kvgossip.api.lanes.connections import Connections
from kvgossip.api.lanes.fast import Lane
from kvgossip.api.lanes.overload import Door
from kvgossip.api.listings import Listings
from kvgossip.api.routes.backup import BackupRoutes
from kvgossip.api.routes.batch import BatchRoutes
from kvgossip.api.routes.cluster import ClusterRoutes
from kvgossip.api.routes.consul import NOT_OFFERED, ConsulRoutes
from kvgossip.api.routes.consul_answer import ConsulAnswers
from kvgossip.api.routes.consul_cluster import ConsulClusterRoutes
from kvgossip.api.routes.history import HistoryRoutes
from kvgossip.api.routes.kv import KeyRoutes
from kvgossip.api.routes.sse import Hub
from kvgossip.api.routes.status import StatusRoutes
from kvgossip.api.routes.watch import WatchRoutes
from kvgossip.api.tls.certificates import Certificates
from kvgossip.api.tls.handshakes import Handshakes
from kvgossip.api.tls.link import TlsLink
from kvgossip.config import Address
from kvgossip.errors import ConfigError
from kvgossip.extras import require
from kvgossip.runtime.network.listener import Listener

if TYPE_CHECKING:
    from kvgossip.api.routes.metrics import Metrics
    from kvgossip.runtime.node import Node

BACKLOG = 4096
"""So many connections may queue while a turn of the event loop is long. The kernel ignores more:
those clients try again after seconds."""
READS = ("GET", "HEAD")
STOP_GRACE_S = 2.0
"""How long requests under way may take to finish when the server stops."""


def listen(address: Address) -> socket.socket:
    """A listening TCP socket: connections wait in it until a server starts. An empty host means all
    addresses, port 0 a free port.

    Raises ConfigError with one clear line where the address cannot be had.
    """
    try:
        if not address.host:
            dual = socket.has_dualstack_ipv6()
            return socket.create_server(
                address,
                family=socket.AF_INET6 if dual else socket.AF_INET,
                backlog=BACKLOG,
                dualstack_ipv6=dual,
            )
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(address, error) from error


class PortInUseError(ConfigError):
    """Another socket listens there."""


class ServerRoutes(Family):
    """A server about itself: its description, and its metrics."""

    def __init__(
        self,
        node: Node,
        answers: Answers,
        connections: Connections,
        delay: LoopDelay,
        watching: WatchRoutes,
        certificates: Certificates | None,
    ) -> None:
        self._node, self._answers, self._connections = node, answers, connections
        self._delay, self._watching, self._certificates = delay, watching, certificates
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
                self._node, self._connections, self._delay, self._watching, self._certificates
            )
        text, content_type = self._metrics.render(call.request)
        return self._answers.octets(200, text, f"Content-Type: {content_type}\r\n")

    ROUTES = (
        Route("GET", "/openapi.json", describe, Right.OPEN, "This description.", OBJECT),
        Route(
            "GET",
            "/metrics",
            metrics,
            Right.READ,
            "Everything that can be counted, for Prometheus.",
            TEXT,
            content_type="text/plain",
        ),
    )


FAMILIES: tuple[type[Family], ...] = (
    KeyRoutes,
    BatchRoutes,
    HistoryRoutes,
    WatchRoutes,
    StatusRoutes,
    ClusterRoutes,
    BackupRoutes,
    ServerRoutes,
    ConsulRoutes,
    ConsulClusterRoutes,
)
DESCRIPTION = document(route for family in FAMILIES for route in family.ROUTES)


class ApiServer:
    """Serves `node` on `listener` between `start()` and `stop()`; it owns the socket, not the
    node. With `certificates` it speaks TLS there."""

    def __init__(
        self, node: Node, listener: socket.socket, *, certificates: Certificates | None = None
    ) -> None:
        self._node, self._certificates = node, certificates
        self._answers = answers = Answers(node)
        self._hub, self._delay, self._connections = Hub(), LoopDelay(), Connections(node.config)
        self._watching = watching = WatchRoutes(node, answers, self._hub)
        self._keys = Keys(node, answers)
        self._room = Room(node.config.http_answers_bytes_max)
        cluster, consul = ClusterRoutes(node, answers), ConsulAnswers(node, answers)
        self.left = cluster.left
        self._routes = RouteTable(
            (
                KeyRoutes(node, self._keys, answers),
                BatchRoutes(node, answers),
                HistoryRoutes(node, answers),
                watching,
                StatusRoutes(node, answers, watching.statistics, self.statistics, self._tls),
                cluster,
                BackupRoutes(node, answers),
                ServerRoutes(node, answers, self._connections, self._delay, watching, certificates),
                ConsulRoutes(node, consul, watching, Listings(node, self._room)),
                ConsulClusterRoutes(node, consul),
            ),
            node.config,
            (NOT_OFFERED,),
        )
        self._socket = listener
        self._listener: Listener | None = None
        self._general: General | None = None

    @property
    def address(self) -> Address:
        host, port = self._socket.getsockname()[:2]
        return Address(host, port)

    async def start(self) -> None:
        config, connections, answers = self._node.config, self._connections, self._answers
        general = self._general = General(self.answer, config, answers, connections)
        self._socket.setblocking(False)
        lane = partial(Lane, config, self._keys, answers, connections, general)
        door = Door(connections, answers, tls=self._certificates is not None)
        factory = self._secured(lane)
        self._listener = Listener(self._socket, factory, connections.counts, door.turns_away)
        connections.start()
        self._delay.start()

    def _secured(self, lane: Callable[[], Lane]) -> Callable[[], asyncio.Protocol]:
        """Behind TLS, where there is a certificate."""
        if self._certificates is None:
            return lane
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
        socket."""
        self._delay.stop()
        if self._certificates is not None:
            self._certificates.stop()
        await self._hub.close()
        if self._listener is not None and self._general is not None:
            await self._listener.close()
            await asyncio.gather(
                self._connections.close(STOP_GRACE_S), self._general.shutdown(STOP_GRACE_S)
            )
        self._socket.close()

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
            connection = request.protocol
            client = connection.client if isinstance(connection, GeneralConnection) else NOBODY
            answer = await self._routes.answer(match, request, client)
            if isinstance(answer, Answer) and request.method in READS:
                answer.take_room(self._room)
            return answer
        except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as error:
            return self._answers.problem(
                400, f"the body cannot be read: {type(error).__name__}", "nothing was changed"
            )
        except ConnectionError:
            raise
        except Exception as error:
            return self._answers.failure(error, request.method, request.raw_path)


def _cannot_listen(address: Address, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"HTTP address {address} is in use",
            "stop what listens there, or choose another with --http HOST:PORT (port 0: a free one)",
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"this user may not listen on port {address.port}",
            "choose a port from 1024 on with --http HOST:PORT, or allow it: ports below need root, "
            "or CAP_NET_BIND_SERVICE",
        )
    return ConfigError(
        f"cannot listen for HTTP on {address}: {error.strerror or error}",
        "choose an address of this machine with --http HOST:PORT",
    )
