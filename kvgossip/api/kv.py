"""/kv: keys and values. The quick path of the API: one look at the record, one piece of bytes out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from kvgossip.api.answer import OCTETS, Answer, Answers, sendable
from kvgossip.api.body import read_body
from kvgossip.api.condition import Condition, condition_of
from kvgossip.api.duration import duration_s
from kvgossip.api.errors import RequestError
from kvgossip.api.openapi import OCTETS as OCTETS_SCHEMA
from kvgossip.api.openapi import VERSION, Paths, Schema, fields, operation, parameter
from kvgossip.api.target import decode_key, parameters, split_target
from kvgossip.api.waiting import AT_LEAST, WAIT, WAITED, WRITE_PARAMETERS, Waiting, Wish
from kvgossip.errors import LocalError, NotSettledError
from kvgossip.protocol.entry import (
    HEAD_BYTES,
    TTL_S_MAX,
    TTL_S_MIN,
    check_content_type,
    check_key,
    content_type_in,
    entry_of,
    expires_in,
    flags_in,
    is_dead,
    value_offset,
)

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node, Written

LIST_LIMIT = 100
LIST_LIMIT_MAX = 1000
# To store a value although its condition was not looked at would break the promise that these headers make to a client.
_NOT_OFFERED = ("If-Unmodified-Since", "Content-Range")
CHECKED_HERE = "KV-Condition-Scope: node\r\n"
"""Goes with every write that had a condition: this node checked it, alone, against what it has heard. It is no lock of the cluster."""
FAILED_HINT = "nothing was changed; read the key again, and write with the version that you then see"


TEXT: Schema = {"type": "string"}
KEY = parameter("path", "key", {"type": "string", "minLength": 1, "maxLength": 1024}, "any UTF-8 of 1 to 1,024 bytes, percent-encoded")
CONDITIONS = (
    parameter("header", "If-Match", TEXT, 'only if the version is one of these on this node: "VERSION", or * for any'),
    parameter("header", "If-None-Match", TEXT, 'only if it is none of these on this node: "VERSION", or * for any'),
)
WRITE_STATUSES = (408, 409, 412, 413, 415, 431, 501)
_LISTED = fields(
    key=TEXT,
    version=VERSION,
    content_type={"type": ["string", "null"]},
    bytes={"type": "integer"},
    expires_ms={"type": ["integer", "null"]},
    flags={"type": "integer"},
)
TTL = (
    parameter("query", "ttl", TEXT, "how long the value lives: 500ms, 30s, 15m, 12h; default: for ever"),
    parameter("header", "KV-TTL", TEXT, "the same; give one of them"),
)
PATHS: Paths = {
    "/kv/{key}": {
        "get": operation(
            "The raw bytes of a value.", OCTETS_SCHEMA, (304, 404, 412, 504), parameters=(KEY, *AT_LEAST, *CONDITIONS), content_type="*/*"
        ),
        "put": operation(
            "Store a value, with its Content-Type.",
            fields(key=TEXT, version=VERSION),
            WRITE_STATUSES,
            parameters=(KEY, *WAIT, *TTL, *CONDITIONS),
            body=OCTETS_SCHEMA,
            accepted=WAITED,
        ),
        "delete": operation(
            "Delete a key.",
            fields(key=TEXT, version=VERSION, deleted={"const": True}),
            (404, *WRITE_STATUSES),
            parameters=(KEY, *WAIT, *CONDITIONS),
            accepted=WAITED,
        ),
    },
    "/kv": {
        "get": operation(
            "The live keys in order, a page at a time.",
            fields(entries={"type": "array", "items": _LISTED}, after={"type": ["string", "null"]}),
            parameters=(
                parameter("query", "prefix", TEXT, "what the keys start with"),
                parameter("query", "after", TEXT, "the `after` of the page before"),
                parameter("query", "limit", {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT_MAX}, f"default {LIST_LIMIT}"),
            ),
        )
    },
}


class Reply(NamedTuple):
    """An answer, and what it must wait for: None, or until the write that it tells of is on the disk, or has failed to get there.

    `written`: that write; None where nothing was written.
    """

    answer: Answer
    durable: asyncio.Future[None] | None
    written: Written | None = None


class Keys:
    """What can be done with one key: the same code whichever lane a request came by (see lane.py). All raise KVGossipError."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node = node
        self._answers = answers

    def get(self, encoded_key: str, condition: Condition | None) -> Answer:
        """The raw bytes with their content type; `ETag` and `KV-Version` are the version. 304 when If-None-Match names it."""
        key = decode_key(encoded_key)
        record = self._node.record(key)
        if record is None or is_dead(record):
            check_key(key)
            return self._absent(key, record)
        version = _version_in(record)
        if condition is not None and not condition.holds(version):
            return self._unchanged(version) if condition.matches(version) else self._failed(key, version)
        content_type, value = _content_of(key, record)
        return self._answers.octets(200, value, f"Content-Type: {content_type}\r\n{_version_lines(version)}")

    def put(
        self, encoded_key: str, value: bytes, content_type: str | None, condition: Condition | None, ttl_s: float | None = None
    ) -> Reply:
        """Stores the value if the condition holds here and now. `ttl_s`: it expires after so many seconds."""
        key = decode_key(encoded_key)
        content_type = _checked(content_type)
        if condition is not None:
            check_key(key)
            current = self._version_of(key)
            if not condition.holds(current):
                return Reply(self._failed(key, current), None)
        written = self._node.begin_put(key, value, content_type=content_type, ttl_s=ttl_s)
        version = _version_in(written.record)
        head = _version_lines(version) + (CHECKED_HERE if condition is not None else "")
        return Reply(self._answers.json(200, {"key": key, "version": version}, head), written.durable, written)

    def delete(self, encoded_key: str, condition: Condition | None) -> Reply:
        """200 with the version of the death certificate; 404 when there was nothing to delete, whatever the condition."""
        key = decode_key(encoded_key)
        check_key(key)
        if condition is not None:
            current = self._version_of(key)
            if current is not None and not condition.holds(current):
                return Reply(self._failed(key, current), None)
        written = self._node.begin_delete(key)
        if written is None:
            if not self._node.settled:
                raise NotSettledError("the node has not caught up yet, so it cannot tell whether this key exists")
            return Reply(self._absent(key, None), None)
        version = _version_in(written.record)
        head = f"KV-Version: {version}\r\n" + (CHECKED_HERE if condition is not None else "")
        return Reply(self._answers.json(200, {"key": key, "version": version, "deleted": True}, head), written.durable, written)

    def _version_of(self, key: str) -> str | None:
        """The version that a condition is about. Raises NotSettledError where this node cannot know it."""
        record = self._node.record(key)
        return None if record is None or is_dead(record) else _version_in(record)

    def _absent(self, key: str, certificate: bytes | None) -> Answer:
        """A key that was deleted tells the version of its delete."""
        document = {"error": "there is no such key", "hint": "keys are exact, GET /kv?prefix= lists them", "key": key}
        return self._answers.json(404, document, f"KV-Version: {_version_in(certificate)}\r\n" if certificate is not None else "")

    def _unchanged(self, version: str) -> Answer:
        return self._answers.octets(304, None, _version_lines(version))

    def _failed(self, key: str, version: str | None) -> Answer:
        document = {"error": "the condition does not hold on this node", "hint": FAILED_HINT, "key": key, "version": version}
        return self._answers.json(412, document, (_version_lines(version) if version else "") + CHECKED_HERE)


class KeyRoutes:
    """GET, HEAD, PUT and DELETE of /kv/{key} as aiohttp hands them over, and GET of /kv."""

    def __init__(self, node: Node, keys: Keys, answers: Answers) -> None:
        self._node, self._keys, self._answers = node, keys, answers
        self._value_bytes_max = node.config.value_bytes_max
        self._body_timeout_s = node.config.http_body_timeout_s
        self._waiting = Waiting(node, answers)

    async def get(self, request: web.BaseRequest, encoded_key: str) -> Answer:
        query = split_target(request.raw_path)[1]
        if query:
            await self._waiting.arrived(request, decode_key(encoded_key), query)
        return self._keys.get(encoded_key, _condition_of(request))

    async def put(self, request: web.BaseRequest, encoded_key: str) -> web.StreamResponse:
        """The value changes only after the whole body has arrived."""
        refuse_headers(request)
        condition, wish, ttl_s = _condition_of(request), self._waiting.wish_of(request), _ttl_of(request)
        value = await read_body(request, self._value_bytes_max, self._body_timeout_s)
        if wish is not None:
            self._waiting.check(wish)
        reply = self._keys.put(encoded_key, value, request.headers.get("Content-Type"), condition, ttl_s)
        return await self._done(request, encoded_key, reply, wish, condition)

    async def delete(self, request: web.BaseRequest, encoded_key: str) -> web.StreamResponse:
        refuse_headers(request)
        condition, wish = _condition_of(request), self._waiting.wish_of(request)
        if wish is not None:
            self._waiting.check(wish)
        return await self._done(request, encoded_key, self._keys.delete(encoded_key, condition), wish, condition)

    async def _done(
        self, request: web.BaseRequest, encoded_key: str, reply: Reply, wish: Wish | None, condition: Condition | None
    ) -> web.StreamResponse:
        """The answer, once what it tells cannot be lost any more, and those that it was to wait for hold it."""
        if wish is None or reply.written is None:
            return await _done(reply)
        head = CHECKED_HERE if condition is not None else ""
        return await self._waiting.held(request, decode_key(encoded_key), reply.written, wish, head)

    async def list(self, request: web.BaseRequest, query: str) -> Answer:
        """The live keys in order, a page at a time, without their values. `after` of a page asks for the next one, null ends it.

        `expires_ms`: ms since 1970, null for never.
        """
        asked = parameters(query, ("prefix", "limit", "after"))
        limit = _limit(asked.get("limit", str(LIST_LIMIT)))
        entries = self._node.records(asked.get("prefix", ""), asked.get("after", ""), limit + 1)
        page = [
            {
                "key": key,
                "version": _version_in(record),
                "content_type": content_type_in(record),
                "bytes": len(record) - value_offset(record),
                "expires_ms": expires_in(record),
                "flags": flags_in(record),
            }
            for key, record in entries[:limit]
        ]
        return self._answers.json(200, {"entries": page, "after": page[-1]["key"] if len(entries) > limit else None})


def failure_of(durable: asyncio.Future[None]) -> Exception | None:
    """Why a write that has ended is not on the disk; None: it is."""
    if durable.cancelled():
        return LocalError("the node stopped before the write was on its disk", "write again; it may be there, or not")
    error = durable.exception()
    return LocalError(f"the write failed: {error!r}") if error is not None and not isinstance(error, Exception) else error


async def until_kept(durable: asyncio.Future[None] | None) -> None:
    """Until a write is on the disk; None: at once. Raises what `failure_of` tells."""
    if durable is not None:
        await asyncio.wait((durable,))
        if (error := failure_of(durable)) is not None:
            raise error


async def _done(reply: Reply) -> Answer:
    """The answer, once what it tells cannot be lost any more."""
    await until_kept(reply.durable)
    return reply.answer


def _condition_of(request: web.BaseRequest) -> Condition | None:
    headers = request.headers
    if "If-Match" in headers or "If-None-Match" in headers:
        return condition_of(*(", ".join(headers.getall(name)) if name in headers else None for name in ("If-Match", "If-None-Match")))
    return None


def _ttl_of(request: web.BaseRequest) -> float | None:
    """How long the value shall live: `?ttl=` or the header KV-TTL, in seconds; None: for ever."""
    query = split_target(request.raw_path)[1]
    asked = parameters(query, WRITE_PARAMETERS).get("ttl") if query else None
    told = request.headers.get("KV-TTL")
    if asked is not None and told is not None:
        raise RequestError(400, "the time to live is given twice", "give either ?ttl= or the header KV-TTL; nothing was changed")
    text = told if asked is None else asked
    if text is None:
        return None
    ttl_s = duration_s("ttl", text, TTL_S_MAX)
    if ttl_s < TTL_S_MIN:
        raise RequestError(400, "a value that expires at once is none", "write a ttl of 1ms or more; nothing was changed")
    return ttl_s


def refuse_headers(request: web.BaseRequest) -> None:
    """Raises RequestError for headers of a write without which it would be another one."""
    headers = request.headers
    for name in _NOT_OFFERED:
        if name in headers:
            raise RequestError(501, f"{name} is not offered for writes", "nothing was changed; leave the header out")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise RequestError(415, "encoded bodies are not taken", "nothing was changed; send the value as it is")


def _checked(content_type: str | None) -> str | None:
    if not content_type:
        return None
    try:
        check_content_type(content_type)
    except LocalError as error:
        raise RequestError(400, str(error), error.hint) from None
    return content_type


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= LIST_LIMIT_MAX):
        raise RequestError(400, f"limit = {text!r} is not a whole number from 1 to {LIST_LIMIT_MAX}", "page with after= for more")
    return int(text)


def _version_in(record: bytes) -> str:
    # As Version.__str__ would write it, without building a Version.
    return record[1:HEAD_BYTES].hex("-", 8)


def _version_lines(version: str) -> str:
    return f'ETag: "{version}"\r\nKV-Version: {version}\r\n'


def _content_of(key: str, record: bytes) -> tuple[str, bytes]:
    """Content type and value of a live record."""
    if value_offset(record) == HEAD_BYTES:
        return OCTETS, record[HEAD_BYTES:]
    entry = entry_of(key, record)
    return sendable(entry.content_type), entry.value or b""
