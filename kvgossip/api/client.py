"""The other end of the API: a small asynchronous client, with errors that say in one line what to
do."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from kvgossip.api.http.duration import duration_s
from kvgossip.api.node_url import base_of, checked_url, connector_of
from kvgossip.api.tls.trust import EVERYBODYS, Trust, failure
from kvgossip.errors import KVGossipError

TIMEOUT_S = 30.0
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=60.0)
"""A stream shows a sign of life every 15 s; after a minute without one it is lost."""
_PATIENT = aiohttp.ClientTimeout(total=None, sock_read=TIMEOUT_S)
WAIT_MAX_S = 3600.0
_NO_HTTP = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientResponseError)
LINES = "application/x-ndjson"


class UnreachableError(KVGossipError):
    """No node answered at the URL."""


class RefusedError(KVGossipError):
    """The node answered, and the answer is no. `status` is HTTP's."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status = status


class Reply(NamedTuple):
    """An answer: the body, and the headers in lower case."""

    body: bytes
    headers: dict[str, str]


class StreamEvent(NamedTuple):
    """One block of a stream: the event's name and document, and the cursor to come back with after
    it. A sign of life has an empty name."""

    event: str
    cursor: str
    data: Any


class Client:
    """Speaks to one node at `url`. Use it as `async with`. `token`: sent with every request; empty:
    none. `trust`: what it believes and shows over TLS. Raises ConfigError; every call raises
    UnreachableError or RefusedError."""

    def __init__(
        self,
        url: str,
        timeout_s: float = TIMEOUT_S,
        *,
        token: str = "",
        trust: Trust = EVERYBODYS,
    ) -> None:
        self.url = checked_url(url)
        self._base = base_of(self.url)
        self._tls: ssl.SSLContext | bool = trust.context() or True
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=connector_of(self.url),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            auto_decompress=False,
            headers=self._headers,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, key: str) -> Reply:
        """The value's bytes; its headers have version and content type."""
        return await self._call("GET", _path_of(key))

    async def put(
        self, key: str, value: bytes, content_type: str | None = None, ttl: str | None = None
    ) -> Any:
        # aiohttp would invent a content type where there is none, and it would be stored.
        query = "" if ttl is None else "?" + urlencode({"ttl": ttl})
        return _document(await self._call("PUT", _path_of(key) + query, value, content_type))

    async def batch(self, operations: list[dict[str, Any]]) -> Any:
        return await self._command("/batch", {"operations": operations})

    async def delete(self, key: str) -> Any:
        return _document(await self._call("DELETE", _path_of(key)))

    async def write_and_wait(
        self,
        key: str,
        value: bytes | None,
        content_type: str | None,
        wait: str,
        timeout: str,
        on_ack: Callable[[dict[str, Any]], None],
        ttl: str | None = None,
    ) -> Any:
        """Write, or delete where `value` is None, and wait for those that `wait` names;
        `on_ack` gets each holder as it shows."""
        query = {"wait": wait, "timeout": timeout, **({"ttl": ttl} if ttl is not None else {})}
        target = f"{_path_of(key)}?{urlencode(query)}"
        patience = aiohttp.ClientTimeout(
            sock_read=duration_s("timeout", timeout, WAIT_MAX_S) + self._timeout_s
        )
        method, last = "DELETE" if value is None else "PUT", None
        headers = {"Accept": LINES, **({"Content-Type": content_type} if content_type else {})}
        how = {
            "data": value,
            "headers": headers,
            "skip_auto_headers": ("Content-Type",),
            "timeout": patience,
        }
        async with self._request(method, target, **how) as response:
            if response.status >= 300:
                raise _refused(self.url, response.status, await response.read())
            async for line in response.content:
                last = json.loads(line)
                if "error" in last:
                    raise RefusedError(503, last["error"], last["hint"])
                if isinstance(last["held_by"], dict):
                    on_ack(last["held_by"])
        if last is None or "met" not in last:
            raise UnreachableError(
                "the answer broke off",
                "the write may stand: read the key, or `kvgossip history` it",
            )
        return last

    async def releases(
        self, method: str, prefix: str, query: dict[str, str] | None = None, body: Any = None
    ) -> Any:
        """What GET, PUT or POST of /releases answers."""
        target = f"{_path_of(prefix, '/releases/')}?{urlencode(query or {})}"
        if body is None:
            return _document(await self._call(method, target))
        sent = json.dumps(body).encode()
        return _document(await self._call(method, target, sent, "application/json"))

    async def history(self, key: str) -> Any:
        return _document(await self._call("GET", _path_of(key, "/history/")))

    async def history_value(self, key: str, version: str) -> Reply:
        """The value that the key had in this version."""
        return await self._call(
            "GET", f"{_path_of(key, '/history/')}?{urlencode({'version': version})}"
        )

    async def converge(self) -> Any:
        return _document(await self._call("GET", "/converge"))

    async def page(self, prefix: str = "", limit: int = 100, after: str = "") -> Any:
        """One page of the sorted list: {"entries": [...], "after": cursor or None}."""
        return _document(
            await self._call(
                "GET", "/kv?" + urlencode({"prefix": prefix, "limit": limit, "after": after})
            )
        )

    async def watch(self, query: dict[str, str], since: str | None) -> AsyncIterator[StreamEvent]:
        """The events of one stream of /watch, until it ends. `query` is that of the request,
        `since` a cursor."""
        assert self._session is not None, "use it as `async with Client(url)`"
        url = URL(
            f"{self._base}/watch?{urlencode(query | ({} if since is None else {'since': since}))}",
            encoded=True,
        )
        try:
            async with self._session.get(
                url, timeout=STREAM_TIMEOUT, allow_redirects=False, ssl=self._tls
            ) as response:
                if response.status != 200:
                    raise _refused(self.url, response.status, await response.read())
                cursor, unread = since or "", bytearray()
                async for data in response.content.iter_any():
                    unread += data
                    while (end := unread.find(b"\n\n")) >= 0:
                        event = _event_of(unread[:end].decode(), cursor)
                        del unread[: end + 2]
                        cursor = event.cursor
                        yield event
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _unreachable(self.url, error) from error

    async def members(self) -> Any:
        return _document(await self._call("GET", "/members"))

    async def status(self) -> Any:
        return _document(await self._call("GET", "/status"))

    async def rtt(self, frm: str, to: str) -> Any:
        """`frm`: empty for the node itself."""
        return _document(await self._call("GET", "/rtt?" + urlencode({"from": frm, "to": to})))

    async def doctor(self) -> Any:
        return _document(await self._call("POST", "/doctor"))

    async def join(self, addresses: list[str], wan: bool = False, merge: bool = False) -> Any:
        return await self._command("/join", {"addresses": addresses, "wan": wan, "merge": merge})

    async def leave(self) -> Any:
        return _document(await self._call("POST", "/leave"))

    async def settle(self) -> Any:
        return _document(await self._call("POST", "/settle"))

    async def block(self, target: str) -> Any:
        return await self._command("/block", {"target": target})

    async def unblock(self, target: str) -> Any:
        return await self._command("/unblock", {"target": target})

    async def force_leave(self, name: str, prune: bool) -> Any:
        return await self._command("/force-leave", {"name": name, "prune": prune})

    async def keyring(self, action: str = "list", key: str = "") -> Any:
        """The ids of the keys that each node has, after this order."""
        if action == "list":
            return _document(await self._call("GET", "/keyring"))
        return await self._command("/keyring", {"action": action, "key": key})

    async def export(self) -> AsyncGenerator[bytes, None]:
        """The lines of an archive, in chunks of any length."""
        async with self._request("GET", "/export", timeout=_PATIENT) as response:
            if response.status >= 300:
                raise _refused(self.url, response.status, await response.read())
            async for chunk in response.content.iter_any():
                yield chunk

    async def import_lines(self, lines: bytes, as_new: bool) -> Any:
        return _document(
            await self._call(
                "POST",
                f"/import?as_new={'true' if as_new else 'false'}",
                lines,
                "application/x-ndjson",
            )
        )

    async def quarantine(self, after: str = "") -> Any:
        """One page: {"values": [...], "after": cursor or None}."""
        return _document(await self._call("GET", "/quarantine?" + urlencode({"after": after})))

    async def quarantined(self, number: str) -> Reply:
        return await self._call("GET", "/quarantine/value?" + urlencode({"number": number}))

    async def restore_quarantined(self, number: str) -> Any:
        return await self._command("/quarantine/restore", {"number": number})

    async def confirm_drops(self) -> Any:
        return _document(await self._call("POST", "/quarantine/confirm"))

    async def discard_quarantined(self, number: str) -> Any:
        return await self._command("/quarantine/discard", {"number": number})

    async def _command(self, path: str, document: dict[str, Any]) -> Any:
        return _document(
            await self._call("POST", path, json.dumps(document).encode(), "application/json")
        )

    @asynccontextmanager
    async def _request(
        self, method: str, target: str, **how: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "use it as `async with Client(url)`"
        try:
            async with self._session.request(
                method,
                URL(self._base + target, encoded=True),
                allow_redirects=False,
                ssl=self._tls,
                **how,
            ) as response:
                yield response
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _unreachable(self.url, error) from error

    async def _call(
        self, method: str, target: str, body: bytes | None = None, content_type: str | None = None
    ) -> Reply:
        headers = {"Content-Type": content_type} if content_type else {}
        async with self._request(
            method, target, data=body, headers=headers, skip_auto_headers=("Content-Type",)
        ) as response:
            reply = Reply(
                await response.read(),
                {name.lower(): value for name, value in response.headers.items()},
            )
            status = response.status
        if status >= 300:
            raise _refused(self.url, status, reply.body)
        return reply


def _event_of(block: str, cursor: str) -> StreamEvent:
    fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
    try:
        data = json.loads(fields.get("data", "{}"))
    except ValueError:
        raise UnreachableError(
            "the stream is not JSON", "is this the HTTP address of a kvgossip node?"
        ) from None
    return StreamEvent(fields.get("event", ""), fields.get("id", cursor), data)


def _path_of(key: str, route: str = "/kv/") -> str:
    return route + quote(key.encode("utf-8", "surrogateescape"), safe="/")


def _document(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except ValueError:
        raise UnreachableError(
            "the answer is not JSON", "is this the HTTP address of a kvgossip node?"
        ) from None


def _refused(url: str, status: int, body: bytes) -> KVGossipError:
    try:
        document = json.loads(body)
        return RefusedError(status, str(document["error"]), str(document["hint"]))
    except (ValueError, KeyError, TypeError):
        return UnreachableError(
            f"{url} answers with status {status} and no reason",
            "is this the HTTP address of a kvgossip node?",
        )


def _unreachable(url: str, error: BaseException) -> UnreachableError:
    if isinstance(error, TimeoutError):
        return UnreachableError(
            f"{url} does not answer in time",
            "is the node overloaded, or is something else listening there?",
        )
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        return UnreachableError(*failure(url, cause))
    if isinstance(error, _NO_HTTP) and not isinstance(error, aiohttp.ClientConnectorError):
        return UnreachableError(
            f"what listens at {url} does not answer as HTTP does: {_reason(error)}",
            "is it the gossip port of a node? Its HTTP port is another, 7480 by default; or write "
            "https:// where a proxy wants that",
        )
    return UnreachableError(
        f"no node answers at {url}: {_reason(error)}",
        "start one with `kvgossip agent`, or name another with --url or KVGOSSIP_URL",
    )


def _reason(error: BaseException) -> str:
    """The system's own words where there are any: aiohttp's repeat the address."""
    cause = _cause(error)
    if isinstance(cause, socket.gaierror):
        return "the name cannot be resolved"
    return (
        os.strerror(cause.errno)
        if isinstance(cause, OSError) and cause.errno
        else str(cause) or type(cause).__name__
    )


def _cause(error: BaseException) -> BaseException:
    """What aiohttp's errors of a connection are about."""
    for name in ("certificate_error", "os_error"):
        found = getattr(error, name, None)
        if isinstance(found, BaseException):
            return found
    # an alert after the handshake: the copy of it has lost its words
    return error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
