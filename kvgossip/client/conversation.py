"""A conversation with one node: a question, its answer, and every failure in words.

It has one connection, and asks one question at a time over it: whoever wants to ask many at once
has many conversations.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from types import TracebackType
from typing import NamedTuple, Self

from kvgossip.client.connection import connect
from kvgossip.client.failures import broken_off, refused, unreachable
from kvgossip.client.node_url import parse
from kvgossip.client.trust import EVERYBODYS, Trust
from kvgossip.errors import LocalError

MULTIPLE_CHOICES = 300
"""The one status of those that redirect that is an answer: the key has siblings."""
TIMEOUT_S = 30.0
PIECE_BYTES_MAX = 256 * 1024


class Reply(NamedTuple):
    """An answer: the body, the headers in lower case, and HTTP's status."""

    body: bytes
    headers: dict[str, str]
    status: int = 200


class Conversation:
    """With one node at `url`. Use it in a `with`. `timeout_s`: how long each piece
    of an answer may take. `token`: sent with every request; empty: none. `trust`: what it believes
    and shows over TLS. Raises ConfigError; every call raises UnreachableError or RefusedError."""

    def __init__(
        self,
        url: str,
        timeout_s: float = TIMEOUT_S,
        *,
        token: str = "",
        trust: Trust = EVERYBODYS,
    ) -> None:
        self._at = parse(url)
        self.url = self._at.text
        self._tls = trust.context()
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection: HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """It may be used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        sent = content_type_header(content_type) | (headers or {})
        answer = self._answer(method, target, body, sent)
        with self._in_words():
            octets = answer.read()
        received = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(octets, received, answer.status)

    def _answer(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> HTTPResponse:
        """The answer, whose body is still to be read. Raises where it is no."""
        connection = self._open(timeout_s or self._timeout_s)
        with self._in_words():
            try:
                connection.request(
                    method, self._at.base + target, body, self._headers | (headers or {})
                )
            except (BrokenPipeError, ConnectionResetError):
                # who refuses what is too long does not read all of it, and has said why
                if not body:
                    raise
            answer = connection.getresponse()
            if answer.status > MULTIPLE_CHOICES:
                raise refused(self.url, answer.status, answer.read())
        return answer

    def _open(self, answer_s: float) -> HTTPConnection:
        """The connection, a new one where the node has closed it meanwhile."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            if not select.select([connection.sock], [], [], 0)[0]:
                connection.sock.settimeout(answer_s)
                return connection
            self.close()
        try:
            self._connection = connect(self._at, self._tls, self._timeout_s, answer_s)
        except OSError as error:
            raise unreachable(self.url, error, is_connected=False) from error
        return self._connection

    def _pieces(self, answer: HTTPResponse) -> Iterator[bytes]:
        """The body as it comes. Who stops before its end closes the connection."""
        try:
            while True:
                with self._in_words():
                    piece = answer.read1(PIECE_BYTES_MAX)
                if not piece:
                    break
                yield piece
            if answer.length:
                raise broken_off("ask again")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Around what the network does, and nothing else: a file and a terminal fail likewise."""
        try:
            yield
        except (OSError, HTTPException) as error:
            self.close()
            raise unreachable(self.url, error, is_connected=True) from error


def content_type_header(given: str | None) -> dict[str, str]:
    if not given:
        return {}
    if not (given.isascii() and given.isprintable()):
        raise LocalError(
            f"the content type {given!r} cannot be sent",
            "write it in ASCII, as text/plain or application/json",
        )
    return {"Content-Type": given}


def context_header(given: str | None) -> dict[str, str]:
    """What a writer has seen, as a read of the key gave it."""
    if given is None:
        return {}
    if not (given.isascii() and given.isprintable()):
        raise LocalError(
            "the context cannot be sent", "give it as `kvgossip get KEY --siblings` shows it"
        )
    return {"KV-Context": given}
