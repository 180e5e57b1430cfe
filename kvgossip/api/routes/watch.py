"""/watch: changes, as server-sent events or as a long poll. Before the node has settled a poll is
503, and a stream has no events: a consumer that took the first half of the data that a node catches
up with for everything would delete the rest downstream (lesson 16)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from kvgossip.api.access.rights import Caller, Right, Scope
from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RETRY_AFTER, RequestError
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Parameter, Route
from kvgossip.api.http.schema import (
    SWITCH,
    TEXT,
    VERSION_EXAMPLE,
    WHOLE,
    YES_OR_NO,
    many,
    named,
    or_null,
)
from kvgossip.api.lanes.files import FILES_SPARED_BY_STREAMS, files_for
from kvgossip.api.routes.sse import Hub
from kvgossip.api.routes.watch_event import VALUES, Form, chosen, cursor_of, document
from kvgossip.errors import LocalError, WatchLaggedError
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.model.newest import Newest
from kvgossip.runtime.changes.follower import Event, Follower, Kind
from kvgossip.runtime.changes.watchers import Topic

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

POLL_TIMEOUT = "30s"
POLL_TIMEOUT_MAX_S = 600.0
POLL_LOOKS_S = 5.0
"""How long a poll whose client has gone may still wait."""
COALESCE_MAX_S = 60.0
POLL_ANSWERS_MAX = 8
"""Answers of a few hundred kilobytes at most."""
STREAM_HEAD = "Content-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n"
_PARAMETERS = (
    Parameter("query", "prefix", TEXT, "only keys that start with this"),
    Parameter("query", "key", TEXT, "only this key"),
    Parameter("query", "since", TEXT, "a cursor: go on after it; Last-Event-ID says the same"),
    Parameter("query", "values", {"enum": list(VALUES)}, "whether and how values are sent"),
    Parameter(
        "query",
        "coalesce",
        TEXT,
        f"gather changes for so long: 500ms, 2s; up to {COALESCE_MAX_S:.0f}s",
    ),
    Parameter("query", "conflicts", SWITCH, "conflicts instead of changes"),
    Parameter("query", "poll", SWITCH, "answer once, instead of a stream"),
    Parameter("query", "timeout", TEXT, f"how long a poll waits; default {POLL_TIMEOUT}"),
    Parameter("header", "Last-Event-ID", TEXT, "the cursor of the last event that was read"),
)


def _scope_of(call: Call) -> Scope:
    key = call.query.get("key")
    return Scope(call.query.get("prefix", ""), is_prefix=True) if key is None else Scope(key)


_EVENT = named("PolledEvent", event={"enum": list(Kind)}, cursor=or_null(TEXT))
_EVENT["properties"] |= {
    "key": TEXT, "version": TEXT, "content_type": or_null(TEXT), "bytes": WHOLE, "value": TEXT,
    "value_base64": TEXT, "more": YES_OR_NO,
}  # fmt: skip
_POLLED = named("Polled", events=many(_EVENT), cursor=TEXT, resync=YES_OR_NO)
_POLL_EXAMPLE = {
    "events": [
        {"event": "delete", "cursor": "5d1c9e0f3a7b2468-17", "key": "a", "version": VERSION_EXAMPLE}
    ],
    "cursor": "5d1c9e0f3a7b2468-17",
    "resync": False,
}


class WatchRoutes(Family):
    """GET /watch. `hub` owns the streams that are open."""

    def __init__(self, node: Node, answers: Answers, hub: Hub) -> None:
        self._node, self._answers, self._hub = node, answers, hub
        self._files_max = files_for(FILES_SPARED_BY_STREAMS)
        #: How many requests wait for a change.
        self._polls = 0
        #: the latest answers to polls, by all that they depend on: each is made once for all who
        #: wait for the same
        self._poll_answers: Newest[tuple[Form, int, int], bytes] = Newest(POLL_ANSWERS_MAX)
        #: Lets the streams begin that are held; None: there are none.
        self._releases: asyncio.Task[None] | None = None

    def statistics(self) -> dict[str, Any]:
        """How many watch over HTTP now, and how many streams were cut off, by reason."""
        return {"streams": len(self._hub), "polls": self._polls, "cut_off": dict(self._hub.cut_off)}

    async def watch(self, call: Call) -> Answer:
        """A stream of events, or with poll=1 one answer with the next ones. 503 where there are too
        many watchers."""
        request, query = call.request, call.query
        form, polls = _form_of(query, conflicts=call.is_on("conflicts")), call.is_on("poll")
        timeout_s = duration_s("timeout", query.get("timeout", POLL_TIMEOUT), POLL_TIMEOUT_MAX_S)
        if "timeout" in query and not polls:
            raise RequestError(
                400, "timeout is for poll=1", "a stream ends when its client closes it"
            )
        # a browser that reconnects repeats its URL, and its header says how far it has come since
        since = request.headers.get("Last-Event-ID", query.get("since"))
        self._check_room()
        if polls:
            return await self._poll(request, form, self._node.follow(form.topic, since), timeout_s)
        self.check_may_stream(call)
        config = self._node.config
        head = self._answers.head(
            f"{STREAM_HEAD}KV-Node: {config.name}\r\nKV-Zone: {config.zone}\r\n"
            f"KV-Datacenter: {config.datacenter}\r\n"
        )
        if request.method == "HEAD":
            return Beginning(head, None)
        return Beginning(
            head,
            (self._stream if self._node.settled else self._held)(form, since, call.caller.kept),
        )

    def _stream(
        self, form: Form, since: str | None, caller: Caller | None
    ) -> Callable[[asyncio.Transport], None]:
        feed = self._node.feed_of(form.topic)
        follower = self._node.follow(form.topic, since)
        return lambda transport: self._hub.open(feed, follower, form, transport, caller)

    def _held(
        self, form: Form, since: str | None, caller: Caller | None
    ) -> Callable[[asyncio.Transport], None]:
        """A stream that begins once the node has settled."""
        if self._releases is None:
            self._releases = asyncio.create_task(self._release())

        def begin(transport: asyncio.Transport) -> None:
            self._stream(form, since, caller)(transport)

        return lambda transport: self._hub.hold(transport, begin, form, caller)

    async def _release(self) -> None:
        """Once the node has settled. Where it stops before, the hub is closed."""
        with suppress(LocalError):
            await self._node.wait_settled()
            self._hub.release()
        self._releases = None

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Around the wait of a request for a change. Raises RequestError(503) where there are too
        many watchers."""
        self._check_room()
        self._polls += 1
        try:
            yield
        finally:
            self._polls -= 1

    def _check_room(self) -> None:
        watchers_max = self._node.config.watchers_max
        if len(self._hub) + self._polls >= watchers_max:
            hint = f"watchers_max is {watchers_max}; ask another node"
            raise RequestError(503, "this node has too many watchers", hint, RETRY_AFTER)

    def check_may_stream(self, call: Call, others: int = 0) -> None:
        """Raises RequestError(503) where this client has too many streams, with `others` that are
        not of changes, or where the process has few files left."""
        of_one_max = self._node.config.http_client_streams_max
        if self._hub.count_of(call.client) + others >= of_one_max:
            hint = f"http_client_streams_max is {of_one_max}; close some, or ask another node"
            raise RequestError(503, "this client has too many streams", hint, RETRY_AFTER)
        transport = call.request.transport
        own = None if transport is None else transport.get_extra_info("socket")
        if own is not None and own.fileno() >= self._files_max:
            hint = "give the process more (ulimit -n), or ask another node"
            raise RequestError(503, "this node has few files left", hint, RETRY_AFTER)

    async def _poll(
        self, request: web.BaseRequest, form: Form, follower: Follower, timeout_s: float
    ) -> Answer:
        """The changes since the cursor, or those that come within `timeout_s`. If the cursor cannot
        be gone on from, `resync`: list the keys, then poll from the cursor of this answer."""
        feed = self._node.feed_of(form.topic)
        if follower.resyncs:
            return self._answers.json(200, {"events": [], "cursor": feed.cursor(), "resync": True})
        began = follower.at
        try:
            with self.polling():
                events = await self._next(request, follower, timeout_s)
                if events and form.coalesce_s:
                    await asyncio.sleep(form.coalesce_s)
                    events += _taken(follower)
        except WatchLaggedError:
            return self._answers.json(200, {"events": [], "cursor": feed.cursor(), "resync": True})
        asked = form, began, follower.at
        text = self._poll_answers.get(asked)
        if text is None:
            documents = [
                {
                    "event": str(event.kind),
                    "cursor": cursor_of(event, feed),
                    **document(event, form.values),
                }
                for event in chosen(events, form)
            ]
            answer = {"events": documents, "cursor": feed.cursor(follower.at), "resync": False}
            text = self._poll_answers[asked] = msgspec.json.encode(answer) + b"\n"
        return self._answers.octets(200, text, "Content-Type: application/json\r\n")

    async def _next(
        self, request: web.BaseRequest, follower: Follower, timeout_s: float
    ) -> list[Event]:
        ends_s = self._hub.loop.time() + timeout_s
        while not (events := _taken(follower)):
            left_s = ends_s - self._hub.loop.time()
            if left_s <= 0:
                break
            if request.transport is None:
                raise ConnectionResetError("the client has gone")
            await self._node.feed_of(follower.topic).wait(
                follower.topic, follower.at, min(left_s, POLL_LOOKS_S)
            )
        return events

    ROUTES = (
        Route(
            "GET",
            "/watch",
            watch,
            Right.READ,
            "What changes: a stream of events, or with poll=1 one answer (JSON) with the next "
            "ones.",
            _POLLED,
            parameters=_PARAMETERS,
            scope=_scope_of,
            # a generated client takes the first one, and cannot read what does not end
            other_content=(("text/event-stream", TEXT),),
            example=_POLL_EXAMPLE,
        ),
    )


class Beginning(Answer):
    """The head of a response that does not end here: aiohttp forgets the connection, and `goes_on`
    takes it."""

    def __init__(self, head: str, goes_on: Callable[[asyncio.Transport], None] | None) -> None:
        super().__init__(200, head, None)
        self._goes_on = goes_on
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        await super().prepare(request)
        protocol, transport = request.protocol, request.transport
        if self._goes_on is None or transport is None:
            return
        # for aiohttp the connection is lost; without its transport it cannot close it
        protocol.transport = None
        protocol.connection_lost(None)
        self._goes_on(transport)


def _taken(follower: Follower) -> list[Event]:
    """The next batch that is not empty; empty only when the follower has caught up."""
    while not (events := follower.take()) and not follower.caught_up:
        pass
    return events


def _form_of(query: Mapping[str, str], *, conflicts: bool) -> Form:
    values = query.get("values", "none")
    if values not in VALUES:
        raise RequestError(
            400, f"values = {values!r} is unknown", f"choose one of {', '.join(VALUES)}"
        )
    if "key" in query and "prefix" in query:
        raise RequestError(
            400,
            "key and prefix exclude each other",
            "key= watches exactly one key, prefix= all that start with it",
        )
    if "key" in query:
        check_key(query["key"])
    exact = "key" in query
    text = query["key"] if exact else query.get("prefix", "")
    topic = Topic(text, exact=exact, conflicts=conflicts)
    return Form(topic, values, duration_s("coalesce", query.get("coalesce", "0"), COALESCE_MAX_S))
