"""The server: a listening socket, a route table, and one place where failures become answers.

It is aiohttp's low-level server with a table of its own: a dozen fixed paths and one prefix need no router, and the path must not be
normalised before it is a key.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import http_exceptions, web

from kvgossip.api.answer import Answer, Answers
from kvgossip.api.cluster import ClusterRoutes
from kvgossip.api.errors import RequestError
from kvgossip.api.kv import KeyRoutes
from kvgossip.api.stream import Hub
from kvgossip.api.target import escape_target, parameters, split_target
from kvgossip.api.watch import WatchRoutes
from kvgossip.config import Address
from kvgossip.errors import ConfigError, KVGossipError

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

STOP_GRACE_S = 2.0
"""How long requests under way may take to finish when the server stops."""

log = logging.getLogger("kvgossip.api")

Handler = Callable[[web.BaseRequest, str], Awaitable[Answer]]
"""The second argument is the encoded key for /kv/{key}, the query for all others."""


def listen(address: Address) -> socket.socket:
    """A listening TCP socket: connections wait in it until a server starts. An empty host means all addresses, port 0 a free port.

    Raises ConfigError with one clear line where the address cannot be had.
    """
    try:
        if not address.host:
            dual = socket.has_dualstack_ipv6()
            return socket.create_server(address, family=socket.AF_INET6 if dual else socket.AF_INET, backlog=512, dualstack_ipv6=dual)
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(address, family=family, backlog=512)
    except OSError as error:
        raise _cannot_listen(address, error) from error


class PortInUseError(ConfigError):
    """Somebody else listens there."""


class ApiServer:
    """Serves `node` on `listener` between `start()` and `stop()`; it owns the socket, not the node."""

    def __init__(self, node: Node, listener: socket.socket) -> None:
        self._answers = Answers(node)
        self._hub = Hub()
        self._watching = WatchRoutes(node, self._answers, self._hub)
        keys, cluster = KeyRoutes(node, self._answers), ClusterRoutes(node, self._answers, self._watching.statistics)
        self.left = cluster.left
        self._key_methods = _methods(GET=keys.get, PUT=keys.put, DELETE=keys.delete)
        self._paths = {
            "/kv": _methods(GET=keys.list),
            "/watch": _methods(GET=self._watching.watch),
            "/members": _methods(GET=cluster.members),
            "/status": _methods(GET=cluster.status),
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
        self._listener = listener
        self._runner: web.ServerRunner | None = None

    @property
    def address(self) -> Address:
        host, port = self._listener.getsockname()[:2]
        return Address(host, port)

    async def start(self) -> None:
        self._runner = web.ServerRunner(_Server(self.answer, self._answers), shutdown_timeout=STOP_GRACE_S)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    async def stop(self) -> None:
        """Takes no more requests, lets those under way finish for a moment, and closes the socket."""
        await self._hub.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._listener.close()

    async def answer(self, request: web.BaseRequest) -> Answer:
        """The answer to any request; every failure that is not the connection's own becomes one."""
        try:
            handler, argument = self._handler_of(request)
            return await handler(request, argument)
        except KVGossipError as error:
            return self._answers.failure(error)
        except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as error:
            return self._answers.problem(400, f"the body cannot be read: {type(error).__name__}", "nothing was changed")
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.raw_path)
            return self._answers.problem(500, "the node failed to answer", "this is a bug of kvgossip: its log has the details")

    def _handler_of(self, request: web.BaseRequest) -> tuple[Handler, str]:
        path, query = split_target(request.raw_path)
        if path.startswith("/kv/"):
            methods, argument = self._key_methods, path[4:]
        elif path in self._paths:
            methods, argument = self._paths[path], query
        else:
            raise RequestError(404, f"there is no {path}", f"there are /kv/{{key}}, {', '.join(self._paths)}")
        handler = methods.get(request.method)
        if handler is None:
            allowed = ", ".join(methods)
            raise RequestError(405, f"{request.method} does not fit this path", f"use {allowed}", f"Allow: {allowed}\r\n")
        if query and path not in ("/kv", "/watch"):
            parameters(query, ())
        return handler, argument


def _methods(**handlers: Handler) -> dict[str, Handler]:
    return {"GET": handlers["GET"], "HEAD": handlers["GET"], **handlers} if "GET" in handlers else handlers


def _cannot_listen(address: Address, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"HTTP address {address} is in use", "stop what listens there, or choose another with --http HOST:PORT (port 0: a free one)"
        )
    return ConfigError(
        f"cannot listen for HTTP on {address}: {error.strerror or error}", "choose an address of this machine with --http HOST:PORT"
    )


class _Server(web.Server):
    """web.Server with our connections."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[Answer]], answers: Answers) -> None:
        super().__init__(handler)
        self._answers = answers

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._answers)


class _Connection(web.RequestHandler):
    """web.RequestHandler that takes paths as curl sends them, and that answers what is no HTTP with our JSON and without a traceback."""

    __slots__ = ("_answers",)

    def __init__(self, server: _Server, answers: Answers) -> None:
        # A value is stored as it was sent, so nothing is decompressed (body.py refuses encodings).
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=None, auto_decompress=False)  # type: ignore[arg-type]
        self._answers = answers

    def data_received(self, data: bytes) -> None:
        if not data.isascii() and self._is_idle():
            data = escape_target(data)
        super().data_received(data)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if isinstance(exc, (http_exceptions.HttpProcessingError, ConnectionError)):
            log.debug("not HTTP from %s: %s", request.remote, exc)
        else:
            log.error("a connection failed", exc_info=exc)
        answer = self._answers.problem(status, (message or "not an HTTP request").partition("\n")[0].rstrip(":"), "speak HTTP/1.1")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # A body that the client broke was answered already; aiohttp meets the same error again when it skips the rest.
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            log.error(*args, **kw)

    def _is_idle(self) -> bool:
        """Whether the next byte starts a request: bytes of a body must never be touched."""
        return self._request_count == 0 or (self._waiter is not None and not self._waiter.done())
