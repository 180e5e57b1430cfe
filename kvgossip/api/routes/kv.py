"""/kv: keys and values. The quick path of the API: one look at the record, one piece of bytes
out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from kvgossip.api.http.body import read_body
from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.openapi import OCTETS as OCTETS_SCHEMA
from kvgossip.api.http.openapi import VERSION, Paths, Schema, fields, operation, parameter
from kvgossip.api.http.precondition import Condition, condition_of
from kvgossip.api.http.request_target import decode_key, parameters, split_target
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.keys import CHECKED_HERE, Keys, Reply, until_kept, version_in
from kvgossip.api.routes.write_concern import (
    AT_LEAST,
    WAIT,
    WAITED,
    WRITE_PARAMETERS,
    Waiting,
    WriteOptions,
)
from kvgossip.protocol.model.entry import (
    TTL_S_MAX,
    TTL_S_MIN,
    content_type_in,
    expires_in,
    flags_in,
    value_offset,
)

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

LIST_LIMIT = 100
LIST_LIMIT_MAX = 1000
# To store a value although its condition was not looked at would break the promise that these
# headers make to a client.
_NOT_OFFERED = ("If-Unmodified-Since", "Content-Range")


TEXT: Schema = {"type": "string"}
KEY = parameter(
    "path",
    "key",
    {"type": "string", "minLength": 1, "maxLength": 1024},
    "any UTF-8 of 1 to 1,024 bytes, percent-encoded",
)
CONDITIONS = (
    parameter(
        "header",
        "If-Match",
        TEXT,
        'only if the version is one of these on this node: "VERSION", or * for any',
    ),
    parameter(
        "header",
        "If-None-Match",
        TEXT,
        'only if it is none of these on this node: "VERSION", or * for any',
    ),
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
    parameter(
        "query", "ttl", TEXT, "how long the value lives: 500ms, 30s, 15m, 12h; default: for ever"
    ),
    parameter("header", "KV-TTL", TEXT, "the same; give one of them"),
)
PATHS: Paths = {
    "/kv/{key}": {
        "get": operation(
            "The raw bytes of a value.",
            OCTETS_SCHEMA,
            (304, 404, 412, 504),
            parameters=(KEY, *AT_LEAST, *CONDITIONS),
            content_type="*/*",
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
                parameter(
                    "query",
                    "limit",
                    {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT_MAX},
                    f"default {LIST_LIMIT}",
                ),
            ),
        )
    },
}


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
        condition, options, ttl_s = (
            _condition_of(request),
            self._waiting.options_of(request),
            _ttl_of(request),
        )
        value = await read_body(request, self._value_bytes_max, self._body_timeout_s)
        if options is not None:
            self._waiting.check(options)
        reply = self._keys.put(
            encoded_key, value, request.headers.get("Content-Type"), condition, ttl_s
        )
        return await self._done(request, encoded_key, reply, options, condition)

    async def delete(self, request: web.BaseRequest, encoded_key: str) -> web.StreamResponse:
        refuse_headers(request)
        condition, options = _condition_of(request), self._waiting.options_of(request)
        if options is not None:
            self._waiting.check(options)
        return await self._done(
            request, encoded_key, self._keys.delete(encoded_key, condition), options, condition
        )

    async def _done(
        self,
        request: web.BaseRequest,
        encoded_key: str,
        reply: Reply,
        options: WriteOptions | None,
        condition: Condition | None,
    ) -> web.StreamResponse:
        """The answer, once what it tells cannot be lost any more, and those that it was to wait for
        hold it."""
        if options is None or reply.written is None:
            return await _done(reply)
        head = CHECKED_HERE if condition is not None else ""
        return await self._waiting.held(
            request, decode_key(encoded_key), reply.written, options, head
        )

    async def list(self, request: web.BaseRequest, query: str) -> Answer:
        """The live keys in order, a page at a time, without their values. `after` of a page asks
        for the next one, null ends it.

        `expires_ms`: ms since 1970, null for never.
        """
        asked = parameters(query, ("prefix", "limit", "after"))
        limit = _limit(asked.get("limit", str(LIST_LIMIT)))
        entries = self._node.records(asked.get("prefix", ""), asked.get("after", ""), limit + 1)
        page = [
            {
                "key": key,
                "version": version_in(record),
                "content_type": content_type_in(record),
                "bytes": len(record) - value_offset(record),
                "expires_ms": expires_in(record),
                "flags": flags_in(record),
            }
            for key, record in entries[:limit]
        ]
        return self._answers.json(
            200, {"entries": page, "after": page[-1]["key"] if len(entries) > limit else None}
        )


async def _done(reply: Reply) -> Answer:
    """The answer, once what it tells cannot be lost any more."""
    await until_kept(reply.durable)
    return reply.answer


def _condition_of(request: web.BaseRequest) -> Condition | None:
    headers = request.headers
    if "If-Match" in headers or "If-None-Match" in headers:
        return condition_of(
            *(
                ", ".join(headers.getall(name)) if name in headers else None
                for name in ("If-Match", "If-None-Match")
            )
        )
    return None


def _ttl_of(request: web.BaseRequest) -> float | None:
    """How long the value shall live: `?ttl=` or the header KV-TTL, in seconds; None: for ever."""
    query = split_target(request.raw_path)[1]
    asked = parameters(query, WRITE_PARAMETERS).get("ttl") if query else None
    told = request.headers.get("KV-TTL")
    if asked is not None and told is not None:
        raise RequestError(
            400,
            "the time to live is given twice",
            "give either ?ttl= or the header KV-TTL; nothing was changed",
        )
    text = told if asked is None else asked
    if text is None:
        return None
    ttl_s = duration_s("ttl", text, TTL_S_MAX)
    if ttl_s < TTL_S_MIN:
        raise RequestError(
            400,
            "a value that expires at once is none",
            "write a ttl of 1ms or more; nothing was changed",
        )
    return ttl_s


def refuse_headers(request: web.BaseRequest) -> None:
    """Raises RequestError for headers of a write without which it would be another one."""
    headers = request.headers
    for name in _NOT_OFFERED:
        if name in headers:
            raise RequestError(
                501,
                f"{name} is not offered for writes",
                "nothing was changed; leave the header out",
            )
    if headers.get("Content-Encoding", "identity") != "identity":
        raise RequestError(
            415, "encoded bodies are not taken", "nothing was changed; send the value as it is"
        )


def _limit(text: str) -> int:
    if not (
        text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= LIST_LIMIT_MAX
    ):
        raise RequestError(
            400,
            f"limit = {text!r} is not a whole number from 1 to {LIST_LIMIT_MAX}",
            "page with after= for more",
        )
    return int(text)
