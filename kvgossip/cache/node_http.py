"""A node over HTTP, as a process has it that follows: its stream, and writes that raise what the
node's own API would."""

from __future__ import annotations

import http.client
import json
import socket
from binascii import b2a_base64
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from kvgossip.client.connection import connect
from kvgossip.client.node_url import parse
from kvgossip.client.trust import Trust
from kvgossip.errors import (
    BadBatchError,
    KVGossipError,
    LocalError,
    NoMemberError,
    OverloadedError,
    StorageError,
    StoreFullError,
    ValueTooLargeError,
)

if TYPE_CHECKING:
    from kvgossip.protocol.model.write import Writing

CONNECT_S, ANSWER_S = 5.0, 30.0
SILENCE_S = 40.0
"""A stream shows a sign of life every 15 s."""
ERROR_BYTES_MAX = 64 * 1024
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
        self._at = parse(url)
        self.url = self._at.text
        self._tls = Trust(ca).context() if self._at.is_tls else None
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def watch(self, prefix: str, cursor: str) -> Stream:
        """All changes under the prefix after the cursor. Raises OSError, HTTPException and
        KVGossipError."""
        connection = self._connect(CONNECT_S)
        own = connection.sock
        try:
            target = f"{self._at.base}/watch?prefix={quote(prefix, safe='')}&values=base64"
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
            connection.request("GET", f"{self._at.base}/healthz")
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
        target = f"{self._at.base}/kv/{quote(each.key, safe='')}"
        headers = dict(self._headers)
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
        answer = _ask(connection, "POST", f"{self._at.base}/batch", body, self._headers)
        if answer.status == 400:
            document = _document_in(answer.body)
            raise BadBatchError(document.get("error", ""), document.get("hint", ""))
        return tuple(str(each.get("version") or "") for each in _document(answer)["results"])

    def _connect(self, answer_s: float) -> http.client.HTTPConnection:
        return connect(self._at, self._tls, CONNECT_S, answer_s)


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


def age_in(answer: http.client.HTTPResponse) -> int | None:
    age = answer.headers.get("KV-Synced-Age", "")
    return int(age) if age.isascii() and age.isdigit() else None


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
