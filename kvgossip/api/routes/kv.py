"""/kv: keys and values. The quick path of the API: one look at the record, one piece of bytes
out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from kvgossip.api.access.rights import Right
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.precondition import Condition
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
    YES_OR_NO,
    many,
    named,
    or_null,
)
from kvgossip.api.keys import CHECKED_HERE, NO_TERMS, Keys, Reply, until_kept
from kvgossip.api.routes.kv_request import (
    CONDITIONS,
    KEY,
    TERMS,
    TTL,
    TYPE,
    condition_in,
    refuse_headers,
    terms_of,
    ttl_of,
)
from kvgossip.api.routes.write_concern import AT_LEAST, WAIT, WAITED, Waiting, WriteOptions
from kvgossip.api.typed_answers import SEVERAL, version_in
from kvgossip.errors import NotSettledError
from kvgossip.protocol.model.entry import (
    TYPED,
    content_type_in,
    expires_in,
    flags_in,
    value_offset,
)
from kvgossip.protocol.typed.views import siblings_in, view_of, viewed_type
from kvgossip.runtime.clocks import read_clocks

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

LIST_LIMIT = 100
LIST_LIMIT_MAX = 1000
OFFSET_MAX = 10**9
WAITING_FAMILY = "waiting"
"""The metrics keep what waits for others apart: it must not look like a slow node."""
VALUE = Body(OCTETS, bytes_max=lambda config: config.value_bytes_max)
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
_LISTED["properties"] |= {"type": TEXT, "siblings": WHOLE}
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
_RESOLVE = Parameter(
    "query", "resolve", {"enum": ["lww"]}, "of several siblings the newest one alone, with 200"
)


class KeyRoutes(Family):
    """GET, HEAD, PUT and DELETE of /kv/{key} as aiohttp hands them over, and GET of /kv."""

    def __init__(self, node: Node, keys: Keys, answers: Answers) -> None:
        self._node, self._keys, self._answers = node, keys, answers
        self._waiting = Waiting(node, answers)

    async def get(self, call: Call) -> Answer:
        self._regard_stale(call)
        if call.query.keys() - {"stale", "resolve"}:
            await self._waiting.arrived(call)
        resolve = call.query.get("resolve")
        if resolve not in (None, "lww"):
            raise RequestError(400, f"resolve = {resolve!r} is unknown", "use lww, or leave it out")
        condition = condition_in(call.request)
        return self._keys.get(call.key, condition, call.caller, resolve=resolve is not None)

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
        condition, ttl_s, terms = condition_in(call.request), ttl_of(call), terms_of(call)
        options = self._waiting.options_of(call)
        value = await call.body()
        if options is not None:
            self._waiting.check(options)
        content_type = call.request.headers.get("Content-Type")
        reply = self._keys.put(call.key, value, content_type, condition, call.caller, ttl_s, terms)
        return await finished(self._waiting, call, reply, options, condition)

    async def delete(self, call: Call) -> web.StreamResponse:
        refuse_headers(call.request)
        condition, options = condition_in(call.request), self._waiting.options_of(call)
        if options is not None:
            self._waiting.check(options)
        terms = terms_of(call) or NO_TERMS
        reply = self._keys.delete(call.key, condition, call.caller, terms)
        return await finished(self._waiting, call, reply, options, condition)

    async def page(self, call: Call) -> Answer:
        """The live keys in order, a page at a time, without their values. `after` of a page asks
        for the next one, null ends it.

        `expires_ms`: ms since 1970, null for never. `keys`: how many there are with this prefix.
        `type`, `siblings`: of a key whose writes are merged.
        """
        self._regard_stale(call)
        if "offset" in call.query and "after" in call.query:
            raise RequestError(400, "after and offset are both given", "give one of them")
        limit = limit_in(call.query, LIST_LIMIT)
        offset = _whole("offset", call.query.get("offset", "0"), 0, OFFSET_MAX)
        prefix, after = call.query.get("prefix", ""), call.query.get("after", "")
        entries = self._node.records(prefix, after, limit + 1, offset)
        wall_ms = read_clocks().wall_ms
        page = [_listed(key, record, wall_ms) for key, record in entries[:limit]]
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
            "The raw bytes of a value; of several siblings all, with 300.",
            OCTETS,
            (304, 404, 412, 504),
            parameters=(KEY, *AT_LEAST, _STALE, _RESOLVE, *CONDITIONS),
            several=SEVERAL,
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
            parameters=(KEY, *WAIT, *TTL, TYPE, *TERMS, *CONDITIONS),
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
            named("Deleted", key=TEXT, version=VERSION, deleted=YES_OR_NO),
            (404, *WRITE_STATUSES),
            example={**_STORED_EXAMPLE, "deleted": True},
            parameters=(KEY, *WAIT, *TERMS, *CONDITIONS),
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


async def finished(
    waiting: Waiting,
    call: Call,
    reply: Reply,
    options: WriteOptions | None,
    condition: Condition | None,
) -> web.StreamResponse:
    """The answer to a write, once what it says cannot be lost any more, and those that it was to
    wait for hold it."""
    if options is None or reply.written is None:
        await until_kept(reply.durable)
        return reply.answer
    head = CHECKED_HERE if condition is not None else ""
    return await waiting.held(call, reply.written, options, head)


def _listed(key: str, record: bytes, wall_ms: int) -> dict[str, Any]:
    if record[0] & TYPED:
        entry = view_of(key, record, wall_ms)
        return {
            "key": key,
            "version": version_in(record),
            "content_type": entry.content_type,
            "bytes": len(entry.value or b""),
            "expires_ms": expires_in(record),
            "flags": entry.flags,
            "type": viewed_type(record),
            "siblings": siblings_in(record, wall_ms),
        }
    return {
        "key": key,
        "version": version_in(record),
        "content_type": content_type_in(record),
        "bytes": len(record) - value_offset(record),
        "expires_ms": expires_in(record),
        "flags": flags_in(record),
    }


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
