"""The answers of a server, read from bytes: those to requests that are known, one after the other;
and those to bytes that may be anything, where nobody knows which answer has no body."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

HEAD_END = b"\r\n\r\n"
_UNLIKE = ("date",)
"""Headers in which two answers to one request may differ."""
_OF_TOMBSTONES = ("kv-version", "kv-context")
_TOOK = re.compile(rb'"ms":[0-9.e-]+')
_NO_BODY = (204, 304)


class NotAnAnswerError(Exception):
    """What a server has sent is no answer of HTTP/1.1; the text says why."""


class Answer(NamedTuple):
    """`headers`: by their names in lower case, without those of no meaning."""

    status: int
    headers: dict[str, str]
    body: bytes

    def timeless(self) -> Answer:
        """The same, but for how long something took, and for the tombstone of a key that is not
        there: each node drops that at a time of its own."""
        headers, body = self.headers, _TOOK.sub(b'"ms":0', self.body)
        if self.status == 404:
            headers = {name: headers[name] for name in headers if name not in _OF_TOMBSTONES}
        if body is not self.body:
            headers = {**headers, "content-length": str(len(body))}
        return Answer(self.status, headers, body)

    @property
    def is_last(self) -> bool:
        return self.headers.get("connection") == "close"


def take(data: bytes, method: str) -> tuple[Answer, int] | None:
    """The answer at the beginning of `data` to a request of this method, and its length; None where
    it is not whole yet. Raises NotAnAnswerError."""
    head = _head(data)
    if head is None:
        return None
    answer, length = head
    if method == "HEAD" or answer.status < 200 or answer.status in _NO_BODY:
        return answer, length
    body = _body(data, length, answer.headers)
    if body is None:
        return None
    return answer._replace(body=body[0]), body[1]


def split(data: bytes) -> list[Answer]:
    """All answers in all that a server has sent on a connection. Raises NotAnAnswerError."""
    found: list[Answer] = []
    while data:
        # it may be the answer to HEAD: then the next one begins behind its head
        for method in ("GET", "HEAD"):
            taken = take(data, method)
            if taken is not None and _may_follow(data[taken[1] :]):
                break
        if taken is None or not _may_follow(data[taken[1] :]):
            raise NotAnAnswerError(f"no answer, or not a whole one: {data[:200]!r}")
        found.append(taken[0])
        data = data[taken[1] :]
    return found


def whole(data: bytes, methods: Sequence[str]) -> list[Answer]:
    """The answers to requests of these methods, as far as they are here. Raises NotAnAnswerError,
    also where there is more; but the last answer on a connection may be to what was not read as a
    request, and so have a body."""
    found: list[Answer] = []
    at = 0
    while len(found) < len(methods) and (taken := take(data[at:], methods[len(found)])) is not None:
        at += taken[1]
        if taken[0].status >= 200:
            found.append(taken[0])
    if len(found) == len(methods) and at < len(data) and not found[-1].is_last:
        raise NotAnAnswerError(f"more than was asked for: {data[at : at + 200]!r}")
    return found


def _may_follow(rest: bytes) -> bool:
    return not rest or rest.startswith(b"HTTP/1.1 ")


def _head(data: bytes) -> tuple[Answer, int] | None:
    end = data.find(HEAD_END)
    if end < 0:
        return None
    line, *lines = data[:end].decode("latin-1").split("\r\n")
    version, _, rest = line.partition(" ")
    status, _, _ = rest.partition(" ")
    if version != "HTTP/1.1" or not (status.isdigit() and len(status) == 3):
        raise NotAnAnswerError(f"a status line that is none: {line!r}")
    headers: dict[str, str] = {}
    for text in lines:
        name, colon, value = text.partition(": ")
        if not (colon and name) or name != name.strip() or "\r" in value or "\n" in value:
            raise NotAnAnswerError(f"a header that is none: {text!r}")
        if name.lower() not in _UNLIKE:
            headers[name.lower()] = value
    return Answer(int(status), headers, b""), end + len(HEAD_END)


def _body(data: bytes, at: int, headers: dict[str, str]) -> tuple[bytes, int] | None:
    if headers.get("transfer-encoding") == "chunked":
        return _chunks(data, at)
    if "content-length" not in headers:
        # it ends with the connection
        return data[at:], len(data)
    end = at + int(headers["content-length"])
    return None if len(data) < end else (data[at:end], end)


def _chunks(data: bytes, at: int) -> tuple[bytes, int] | None:
    parts: list[bytes] = []
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end], 16)
        at = end + 2
        if len(data) < at + size + 2:
            return None
        parts.append(data[at : at + size])
        at += size + 2
        if not size:
            return b"".join(parts), at
    return None
