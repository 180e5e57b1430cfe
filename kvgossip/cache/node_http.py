"""A node over HTTP, with the standard library alone: a process that follows must not pay for a
client that it has no other use for."""

from __future__ import annotations

import http.client
import json
import socket
from binascii import b2a_base64
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from kvgossip.errors import (
    BadBatchError,
    ConfigError,
    KVGossipError,
    LocalError,
    NoMemberError,
    OverloadedError,
    StorageError,
    StoreFullError,
    ValueTooLargeError,
)

if TYPE_CHECKING:
    import ssl

    from kvgossip.protocol.model.write import Writing

CONNECT_S, ANSWER_S = 5.0, 30.0
SILENCE_S = 40.0
"""A stream shows a sign of life every 15 s."""
ERROR_BYTES_MAX = 64 * 1024
UNIX = "unix:"
_HINT = "write http://HOST:PORT, for example http://127.0.0.1:7480, https://HOST:PORT or unix:PATH"
_ERRORS: dict[int, type[KVGossipError]] = {
    413: ValueTooLargeError,
    500: StorageError,
    503: OverloadedError,
    507: StoreFullError,
}


class Answer(NamedTuple):
    status: int
    body: bytes


class NodeHTTP:
    """At one URL. `token`: sent with every request; `ca`: a file of certificates that are believed,
    instead of the machine's. Raises ConfigError."""

    def __init__(self, url: str, token: str = "", ca: str = "") -> None:
        self.url = url if "://" in url or url.startswith(UNIX) else f"http://{url}"
        self._path = _unix_path(url) if url.startswith(UNIX) else ""
        self._host, self._port, self._tls = "localhost", 80, None
        if not self._path:
            self._host, self._port, self._tls = _parts_of(self.url, ca)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def watch(self, prefix: str, cursor: str) -> Stream:
        """All changes under the prefix after the cursor. Raises OSError, HTTPException and
        KVGossipError."""
        connection = self._connect(CONNECT_S)
        own = connection.sock
        try:
            target = f"/watch?prefix={quote(prefix, safe='')}&values=base64"
            connection.request("GET", target, headers={**self._headers, "Last-Event-ID": cursor})
            answer = connection.getresponse()
            if answer.status != 200:
                raise _refusal(answer.status, answer.read(ERROR_BYTES_MAX))
            own.settimeout(SILENCE_S)
        except BaseException:
            connection.close()
            raise
        return Stream(own, answer)

    def synced_age_s(self) -> int | None:
        """The time since the node last exchanged with another one; None: it has not. Raises OSError
        and HTTPException."""
        connection = self._connect(CONNECT_S)
        try:
            connection.request("GET", "/healthz")
            return age_in(connection.getresponse())
        finally:
            connection.close()

    def write(self, writes: Sequence[Writing]) -> tuple[str, ...]:
        """Make these writes as one; their versions, empty for a delete of nothing. Raises
        ConnectError where nothing was sent, and KVGossipError."""
        try:
            connection = self._connect(ANSWER_S)
        except OSError as error:
            raise ConnectError(f"{self.url}: {error}") from error
        try:
            if len(writes) == 1 and not writes[0].flags:
                return (self._write_one(connection, writes[0]),)
            return self._write_all(connection, writes)
        except (OSError, http.client.HTTPException) as error:
            raise NoMemberError(
                f"{self.url} has not answered: {error}",
                "it may have done what was asked: look, and try again where that is safe",
            ) from error
        finally:
            connection.close()

    def _write_one(self, connection: http.client.HTTPConnection, each: Writing) -> str:
        target, headers = f"/kv/{quote(each.key, safe='')}", dict(self._headers)
        if each.value is None:
            answer = _ask(connection, "DELETE", target, b"", headers)
            if answer.status == 404:
                return ""
        else:
            if each.content_type is not None:
                headers["Content-Type"] = each.content_type
            if each.ttl_s is not None:
                target += f"?ttl={_ttl(each.ttl_s)}"
            answer = _ask(connection, "PUT", target, each.value, headers)
        return str(_document(answer).get("version") or "")

    def _write_all(
        self, connection: http.client.HTTPConnection, writes: Sequence[Writing]
    ) -> tuple[str, ...]:
        body = json.dumps({"operations": [_operation(each) for each in writes]}).encode()
        answer = _ask(connection, "POST", "/batch", body, self._headers)
        if answer.status == 400:
            document = _document_in(answer.body)
            raise BadBatchError(document.get("error", ""), document.get("hint", ""))
        return tuple(str(each.get("version") or "") for each in _document(answer)["results"])

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that is open, and whose answers may take so long."""
        if self._path:
            connection: http.client.HTTPConnection = _UnixConnection(self._path, CONNECT_S)
        elif self._tls is not None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_S, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_S)
        connection.connect()
        connection.sock.settimeout(timeout_s)
        return connection


class ConnectError(KVGossipError):
    """Nobody is reached: nothing was sent."""


class Stream:
    """An answer that does not end."""

    def __init__(self, own: socket.socket, answer: http.client.HTTPResponse) -> None:
        self._own, self._answer = own, answer
        self.settled = answer.headers.get("KV-Settled") == "true"
        self.node = answer.headers.get("KV-Node", "")
        self.zone = answer.headers.get("KV-Zone", "")
        self.datacenter = answer.headers.get("KV-Datacenter", "")
        self.age_s = age_in(answer)

    def read(self) -> bytes:
        """What has come; empty at the end. Raises OSError, TimeoutError where nothing comes."""
        return self._answer.read1(256 * 1024)

    def shut(self) -> None:
        """Let `read`, on another thread, end."""
        with suppress(OSError):
            # that of TLS would change what the other thread uses
            socket.socket.shutdown(self._own, socket.SHUT_RDWR)

    def close(self) -> None:
        self._answer.close()
        self._own.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self._timeout_s)
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


def age_in(answer: http.client.HTTPResponse) -> int | None:
    age = answer.headers.get("KV-Synced-Age", "")
    return int(age) if age.isascii() and age.isdigit() else None


def _unix_path(url: str) -> str:
    # with it comes all of the configuration
    from kvgossip.config.unix_socket import unix_path

    return unix_path(url)


def _parts_of(url: str, ca: str) -> tuple[str, int, ssl.SSLContext | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{url!r} is not the URL of a node", _HINT) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ConfigError(f"{url!r} is not the URL of a node", _HINT)
    if parts.scheme == "http":
        return parts.hostname, port or 80, None
    import ssl

    try:
        return parts.hostname, port or 443, ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise ConfigError(
            f"the CA {ca} cannot be used: {error.strerror or error}",
            "name a file of certificates in PEM format",
        ) from error


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes,
    headers: dict[str, str],
) -> Answer:
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    return Answer(answer.status, answer.read())


def _document(answer: Answer) -> dict[str, Any]:
    """Raises as the node's own API would."""
    if answer.status >= 300:
        raise _refusal(answer.status, answer.body)
    return _document_in(answer.body)


def _refusal(status: int, body: bytes) -> KVGossipError:
    document = _document_in(body)
    error = document.get("error") or f"the answer is {status}"
    return _ERRORS.get(status, LocalError)(str(error), str(document.get("hint") or ""))


def _document_in(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _operation(each: Writing) -> dict[str, Any]:
    if each.value is None:
        return {"delete": each.key}
    operation: dict[str, Any] = {
        "put": each.key,
        "base64": b2a_base64(each.value, newline=False).decode(),
    }
    if each.content_type is not None:
        operation["content_type"] = each.content_type
    if each.ttl_s is not None:
        operation["ttl"] = _ttl(each.ttl_s)
    if each.flags:
        operation["flags"] = each.flags
    return operation


def _ttl(ttl_s: float) -> str:
    return f"{max(round(1000 * ttl_s), 1)}ms"
