"""The server: a listening socket, a route table, and one place where failures become answers.

Two lanes serve its connections: fast.py the requests for single keys, aiohttp_lane.py all others.
The table is our own: a dozen fixed paths and one prefix need no router, and the path must not be
normalised before it is a key.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import http_exceptions, web

from kvgossip.api.http.errors import RequestError, wrong_method
from kvgossip.api.http.openapi import Paths, document, operation
from kvgossip.api.http.request_metrics import LoopDelay
from kvgossip.api.http.request_target import parameters, split_target
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.keys import Keys
from kvgossip.api.lanes.aiohttp_lane import General
from kvgossip.api.lanes.connections import Connections
from kvgossip.api.lanes.fast import Lane
from kvgossip.api.lanes.overload import Door
from kvgossip.api.routes.backup import BODIES as BACKUP_BODIES
from kvgossip.api.routes.backup import PATHS as BACKUP_PATHS
from kvgossip.api.routes.backup import BackupRoutes
from kvgossip.api.routes.batch import PATHS as BATCH_PATHS
from kvgossip.api.routes.batch import BatchBody, BatchRoutes
from kvgossip.api.routes.cluster import BODIES, ClusterRoutes
from kvgossip.api.routes.cluster import PATHS as CLUSTER_PATHS
from kvgossip.api.routes.consul import PATHS as CONSUL_PATHS
from kvgossip.api.routes.consul import ConsulRoutes
from kvgossip.api.routes.kv import PATHS as KEY_PATHS
from kvgossip.api.routes.kv import KeyRoutes
from kvgossip.api.routes.sse import Hub
from kvgossip.api.routes.watch import PATHS as WATCH_PATHS
from kvgossip.api.routes.watch import WatchRoutes
from kvgossip.api.routes.write_concern import PATHS as WAITING_PATHS
from kvgossip.api.routes.write_concern import Waiting
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
STOP_GRACE_S = 2.0
"""How long requests under way may take to finish when the server stops."""

PATHS: Paths = {
    "/openapi.json": {"get": operation("This description.", {"type": "object"})},
    "/metrics": {
        "get": operation(
            "Everything that can be counted, for Prometheus.",
            {"type": "string"},
            content_type="text/plain",
        )
    },
}
_FAMILIES = (
    KEY_PATHS,
    BATCH_PATHS,
    WAITING_PATHS,
    WATCH_PATHS,
    CLUSTER_PATHS,
    BACKUP_PATHS,
    CONSUL_PATHS,
    PATHS,
)
DESCRIPTION = document(_FAMILIES, (*BODIES, *BACKUP_BODIES, BatchBody))

Handler = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
"""The second argument is the encoded key for /kv/{key}, the query for all others."""


_WITH_PARAMETERS = (
    "/kv",
    "/watch",
    "/rtt",
    "/converge",
    "/import",
    "/quarantine",
    "/quarantine/value",
)
"""Paths that look at their query themselves; to all others any parameter is a mistake."""


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
    """Somebody else listens there."""


class ApiServer:
    """Serves `node` on `listener` between `start()` and `stop()`; it owns the socket, not the
    node."""

    def __init__(self, node: Node, listener: socket.socket) -> None:
        self._node = node
        self._answers = Answers(node)
        self._hub, self._delay = Hub(), LoopDelay()
        self._metrics: Metrics | None = None
        self._watching = WatchRoutes(node, self._answers, self._hub)
        self._consul = ConsulRoutes(node, self._answers, self._watching)
        self._keys = Keys(node, self._answers)
        keys = KeyRoutes(node, self._keys, self._answers)
        cluster = ClusterRoutes(node, self._answers, self._watching.statistics, self.statistics)
        self.left = cluster.left
        self._key_methods = _methods(GET=keys.get, PUT=keys.put, DELETE=keys.delete)
        self._history_methods = _methods(GET=Waiting(node, self._answers).history)
        self._paths = {
            "/openapi.json": _methods(GET=self._describe),
            "/kv": _methods(GET=keys.list),
            "/batch": _methods(POST=BatchRoutes(node, self._answers).batch),
            "/watch": _methods(GET=self._watching.watch),
            "/converge": _methods(GET=cluster.converge),
            "/members": _methods(GET=cluster.members),
            "/metrics": _methods(GET=self.metrics),
            "/status": _methods(GET=cluster.status),
            "/rtt": _methods(GET=cluster.rtt),
            "/doctor": _methods(POST=cluster.doctor),
            "/healthz": _methods(GET=cluster.healthz),
            "/readyz": _methods(GET=cluster.readyz),
            "/join": _methods(POST=cluster.join),
            "/leave": _methods(POST=cluster.leave),
            "/settle": _methods(POST=cluster.settle),
            "/block": _methods(POST=cluster.block),
            "/unblock": _methods(POST=cluster.unblock),
            "/force-leave": _methods(POST=cluster.force_leave),
            "/keyring": _methods(GET=cluster.keyring, POST=cluster.change_keyring),
        }
        backup = BackupRoutes(node, self._answers)
        self._paths |= {
            "/export": _methods(GET=backup.export),
            "/import": _methods(POST=backup.import_),
            "/quarantine": _methods(GET=backup.quarantine),
            "/quarantine/value": _methods(GET=backup.value),
            "/quarantine/restore": _methods(POST=backup.restore),
            "/quarantine/discard": _methods(POST=backup.discard),
        }
        self._socket = listener
        self._listener: Listener | None = None
        self._general: General | None = None
        self._connections: Connections | None = None

    @property
    def address(self) -> Address:
        host, port = self._socket.getsockname()[:2]
        return Address(host, port)

    async def start(self) -> None:
        config = self._node.config
        connections = self._connections = Connections(config)
        general = self._general = General(self.answer, config, self._answers, connections)
        self._socket.setblocking(False)
        door = Door(connections, self._answers)
        lane = partial(Lane, config, self._keys, self._answers, connections, general)
        self._listener = Listener(self._socket, lane, connections.counts, door.turns_away)
        self._delay.start()

    async def stop(self) -> None:
        """Takes no more requests, lets those under way finish for a moment, and closes the
        socket."""
        self._delay.stop()
        await self._hub.close()
        if (
            self._listener is not None
            and self._general is not None
            and self._connections is not None
        ):
            await self._listener.close()
            await asyncio.gather(
                self._connections.close(STOP_GRACE_S), self._general.shutdown(STOP_GRACE_S)
            )
        self._socket.close()

    def statistics(self) -> dict[str, int]:
        """How many connections there are, and what became of all so far and of their requests, by
        name."""
        if self._connections is None:
            return {}
        return {"connections_open": len(self._connections), **self._connections.counts}

    async def metrics(self, request: web.BaseRequest, query: str) -> Answer:
        """Everything that can be counted, for Prometheus."""
        if self._metrics is None:
            assert self._connections is not None
            # who is never scraped does not load it
            require("prometheus_client", "/metrics")
            from kvgossip.api.routes.metrics import Metrics

            self._metrics = Metrics(self._node, self._connections, self._delay, self._watching)
        text, content_type = self._metrics.render(request)
        return self._answers.octets(200, text, f"Content-Type: {content_type}\r\n")

    async def _describe(self, request: web.BaseRequest, query: str) -> Answer:
        return self._answers.json(200, DESCRIPTION)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to any request, and how long it took."""
        assert self._connections is not None
        started_s = time.perf_counter()
        answer = await self._answer(request)
        self._connections.requests.observe(
            self._family_of(request.raw_path), answer.status, time.perf_counter() - started_s
        )
        return answer

    def _family_of(self, target: str) -> str:
        """Its name among the metrics: few, whatever is asked."""
        path, query = split_target(target)
        if path.startswith("/kv/"):
            # what waits for others must not look like a slow node
            return "waiting" if query else "kv"
        if path.startswith("/v1/"):
            return "consul"
        if path.startswith("/history/"):
            return "history"
        return {"/kv": "list"}.get(path, path[1:]) if path in self._paths else "other"

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every failure that is not the connection's own becomes an answer."""
        try:
            handler, argument = self._handler_of(request)
            return await handler(request, argument)
        except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as error:
            return self._answers.problem(
                400, f"the body cannot be read: {type(error).__name__}", "nothing was changed"
            )
        except ConnectionError:
            raise
        except Exception as error:
            return self._answers.failure(error, request.method, request.raw_path)

    def _handler_of(self, request: web.BaseRequest) -> tuple[Handler, str]:
        path, query = split_target(request.raw_path)
        if path.startswith("/v1/"):
            return self._consul.answer, query
        if path.startswith("/kv/"):
            methods, argument = self._key_methods, path[4:]
        elif path.startswith("/history/"):
            methods, argument = self._history_methods, path[9:]
        elif path in self._paths:
            methods, argument = self._paths[path], query
        else:
            raise RequestError(
                404,
                f"there is no {path}",
                f"there are /kv/{{key}}, /history/{{key}}, {', '.join(self._paths)}, and Consul's "
                "under /v1/",
            )
        handler = methods.get(request.method)
        if handler is None:
            raise wrong_method(request.method, methods)
        if query and path in self._paths and path not in _WITH_PARAMETERS:
            parameters(query, ())
        return handler, argument


def _methods(**handlers: Handler) -> dict[str, Handler]:
    return (
        {"GET": handlers["GET"], "HEAD": handlers["GET"], **handlers}
        if "GET" in handlers
        else handlers
    )


def _cannot_listen(address: Address, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"HTTP address {address} is in use",
            "stop what listens there, or choose another with --http HOST:PORT (port 0: a free one)",
        )
    return ConfigError(
        f"cannot listen for HTTP on {address}: {error.strerror or error}",
        "choose an address of this machine with --http HOST:PORT",
    )
