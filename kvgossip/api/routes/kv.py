"""/kv: keys and values. The quick path of the API: one look at the record, one piece of bytes
out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from kvgossip.api.access.rights import Right
from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.precondition import Condition, condition_of
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import (
    Body,
    Call,
    Family,
    Parameter,
    Route,
    key_in_path,
    prefix_in_query,
)
from kvgossip.api.http.schema import (
    OCTETS,
    TEXT,
    VERSION,
    VERSION_EXAMPLE,
    WHOLE,
    many,
    named,
    or_null,
)
from kvgossip.api.keys import CHECKED_HERE, Keys, Reply, until_kept, version_in
from kvgossip.api.routes.write_concern import AT_LEAST, WAIT, WAITED, Waiting, WriteOptions
from kvgossip.errors import NotSettledError
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
OFFSET_MAX = 10**9
WAITING_FAMILY = "waiting"
"""The metrics keep what waits for others apart: it must not look like a slow node."""
# To store a value although its condition was not looked at would break the promise that these
# headers make to a client.
_NOT_OFFERED = ("If-Unmodified-Since", "Content-Range")
VALUE = Body(OCTETS, bytes_max=lambda config: config.value_bytes_max)
KEY = Parameter(
    "path",
    "key",
    {"type": "string", "minLength": 1, "maxLength": 1024},
    "any UTF-8 of 1 to 1,024 bytes, percent-encoded",
)
CONDITIONS = (
    Parameter(
        "header",
        "If-Match",
        TEXT,
        'only if the version is one of these on this node: "VERSION", or * for any',
    ),
    Parameter(
        "header",
        "If-None-Match",
        TEXT,
        'only if it is none of these on this node: "VERSION", or * for any',
    ),
)
WRITE_STATUSES = (408, 409, 412, 413, 415, 431, 501)
_STORED = named("Stored", key=TEXT, version=VERSION)
_STORED_EXAMPLE = {"key": "config/theme", "version": VERSION_EXAMPLE}
_LISTED = named(
    "ListedEntry",
    key=TEXT,
    version=VERSION,
    content_type=or_null(TEXT),
    bytes=WHOLE,
    expires_ms=or_null(WHOLE),
    flags=WHOLE,
)
_LISTED_EXAMPLE = {
    **_STORED_EXAMPLE, "content_type": "text/plain", "bytes": 4, "expires_ms": None, "flags": 0
}  # fmt: skip
PAGE = (
    Parameter("query", "prefix", TEXT, "what the keys start with"),
    Parameter("query", "after", TEXT, "the `after` of the page before"),
    Parameter(
        "query",
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT_MAX},
        f"default {LIST_LIMIT}",
    ),
)
_OFFSET = Parameter(
    "query",
    "offset",
    {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX},
    "instead of `after`: leave out so many",
)
_STALE = Parameter(
    "query",
    "stale",
    {"enum": ["true", "false", "1", "0"]},
    "false: 503 where the node has but the data of its disk",
)
_TTL = (
    Parameter(
        "query", "ttl", TEXT, "how long the value lives: 500ms, 30s, 15m, 12h; default: for ever"
    ),
    Parameter("header", "KV-TTL", TEXT, "the same; give one of them"),
)


class KeyRoutes(Family):
    """GET, HEAD, PUT and DELETE of /kv/{key} as aiohttp hands them over, and GET of /kv."""

    def __init__(self, node: Node, keys: Keys, answers: Answers) -> None:
        self._node, self._keys, self._answers = node, keys, answers
        self._waiting = Waiting(node, answers)

    async def get(self, call: Call) -> Answer:
        self._regard_stale(call)
        if call.query.keys() - {"stale"}:
            await self._waiting.arrived(call)
        return self._keys.get(call.key, _condition_of(call.request), call.caller)

    def _regard_stale(self, call: Call) -> None:
        """With ?stale=false a node that has but the data of its disk does not answer."""
        stale = call.query.get("stale", "true")
        if stale not in ("true", "false", "1", "0"):
            raise RequestError(400, f"stale = {stale!r} is neither true nor false", "choose one")
        if stale in ("false", "0") and not self._node.settled:
            raise NotSettledError(f"the node {self._node.name!r} has not settled")

    async def put(self, call: Call) -> web.StreamResponse:
        """The value changes only after the whole body has arrived."""
        refuse_headers(call.request)
        condition, ttl_s = _condition_of(call.request), _ttl_of(call)
        options = self._waiting.options_of(call)
        value = await call.body()
        if options is not None:
            self._waiting.check(options)
        content_type = call.request.headers.get("Content-Type")
        reply = self._keys.put(call.key, value, content_type, condition, call.caller, ttl_s)
        return await self._done(call, reply, options, condition)

    async def delete(self, call: Call) -> web.StreamResponse:
        refuse_headers(call.request)
        condition, options = _condition_of(call.request), self._waiting.options_of(call)
        if options is not None:
            self._waiting.check(options)
        reply = self._keys.delete(call.key, condition, call.caller)
        return await self._done(call, reply, options, condition)

    async def _done(
        self, call: Call, reply: Reply, options: WriteOptions | None, condition: Condition | None
    ) -> web.StreamResponse:
        """The answer, once what it says cannot be lost any more, and those that it was to wait for
        hold it."""
        if options is None or reply.written is None:
            await until_kept(reply.durable)
            return reply.answer
        head = CHECKED_HERE if condition is not None else ""
        return await self._waiting.held(call, reply.written, options, head)

    async def page(self, call: Call) -> Answer:
        """The live keys in order, a page at a time, without their values. `after` of a page asks
        for the next one, null ends it.

        `expires_ms`: ms since 1970, null for never. `keys`: how many there are with this prefix.
        """
        self._regard_stale(call)
        if "offset" in call.query and "after" in call.query:
            raise RequestError(400, "after and offset are both given", "give one of them")
        limit = limit_in(call.query, LIST_LIMIT)
        offset = _whole("offset", call.query.get("offset", "0"), 0, OFFSET_MAX)
        prefix, after = call.query.get("prefix", ""), call.query.get("after", "")
        entries = self._node.records(prefix, after, limit + 1, offset)
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
            200,
            {
                "entries": page,
                "after": page[-1]["key"] if len(entries) > limit else None,
                "keys": self._node.count(prefix),
            },
        )

    ROUTES = (
        Route(
            "GET",
            "/kv/{key}",
            get,
            Right.READ,
            "The raw bytes of a value.",
            OCTETS,
            (304, 404, 412, 504),
            parameters=(KEY, *AT_LEAST, _STALE, *CONDITIONS),
            scope=key_in_path,
            content_type="*/*",
            counted_with_query_as=WAITING_FAMILY,
        ),
        Route(
            "PUT",
            "/kv/{key}",
            put,
            Right.WRITE,
            "Store a value, with its Content-Type.",
            _STORED,
            WRITE_STATUSES,
            example=_STORED_EXAMPLE,
            parameters=(KEY, *WAIT, *_TTL, *CONDITIONS),
            scope=key_in_path,
            body=VALUE,
            accepted=WAITED,
            counted_with_query_as=WAITING_FAMILY,
        ),
        Route(
            "DELETE",
            "/kv/{key}",
            delete,
            Right.WRITE,
            "Delete a key.",
            named("Deleted", key=TEXT, version=VERSION, deleted={"const": True}),
            (404, *WRITE_STATUSES),
            example={**_STORED_EXAMPLE, "deleted": True},
            parameters=(KEY, *WAIT, *CONDITIONS),
            scope=key_in_path,
            accepted=WAITED,
            counted_with_query_as=WAITING_FAMILY,
        ),
        Route(
            "GET",
            "/kv",
            page,
            Right.READ,
            "The live keys in order, a page at a time.",
            named("Page", entries=many(_LISTED), after=or_null(TEXT), keys=WHOLE),
            example={"entries": [_LISTED_EXAMPLE], "after": None, "keys": 1},
            parameters=(*PAGE, _OFFSET, _STALE),
            scope=prefix_in_query,
            counted_as="list",
        ),
    )


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


def _ttl_of(call: Call) -> float | None:
    """How long the value shall live: `?ttl=` or the header KV-TTL, in seconds; None: for ever."""
    in_query, in_header = call.query.get("ttl"), call.request.headers.get("KV-TTL")
    if in_query is not None and in_header is not None:
        raise RequestError(
            400,
            "the time to live is given twice",
            "give either ?ttl= or the header KV-TTL; nothing was changed",
        )
    text = in_header if in_query is None else in_query
    if text is None:
        return None
    ttl_s = duration_s("ttl", text, TTL_S_MAX)
    if ttl_s < TTL_S_MIN:
        raise RequestError(400, "ttl must be at least 1ms", "nothing was changed")
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


def limit_in(query: Mapping[str, str], default: int) -> int:
    """The `limit` of a page. Raises RequestError(400)."""
    return _whole("limit", query.get("limit", str(default)), 1, LIST_LIMIT_MAX)


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise RequestError(
            400,
            f"{name} = {text!r} is not a whole number from {least} to {most}",
            "page with after= for more",
        )
    return int(text)
