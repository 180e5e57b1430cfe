"""/v1: Consul's HTTP API, as far as it is about keys and values, so that its clients work unchanged
against any node.

Laws
- Answers have Consul's shapes to the letter. A path that is not offered is 501 with a reason, never
  an answer that looks like one.
- `X-Consul-Index` is the arrival index (runtime/changes/feed.py) of the latest change to what was
  asked for, on this node: the hybrid logical time at which it came here. So it is never 0, it never
  falls in a life of a node, and those of its other lives and of other nodes lie near it in time. A
  version that was written long ago and arrives now has a new one: a blocking query hears of it.
- `ModifyIndex` is the HLC timestamp of the version as a number (`index_of`), alike on all nodes. By
  the hybrid clock nothing arrives before it is written, so it is never greater than the
  X-Consul-Index of the answer that has it. Two writes to one key at one timestamp on two nodes,
  which the site tells apart elsewhere, have the same. A version that arrives late has a ModifyIndex
  that is less than an X-Consul-Index from before: a change in a list is found by comparing it. The
  time at which a key was created is kept nowhere: `CreateIndex` is `ModifyIndex`.
- Indices are below 2**53: floating-point numbers, those of JavaScript and jq, hold them.
- A blocking query ends when something under its topic changes, and for no other change (lessons.md
  21). The ModifyIndex of the latest change says that its client has seen that change, as its
  X-Consul-Index does. Another index that this node does not give for this topic now is another
  server's, or another query's, and so is one that may mean either of two changes. It is not known
  what its client has seen, so it is answered as soon as something changes, at the latest after
  STRANGE_WAIT_S (lessons.md 23) - and not at once, so that a client that is balanced over several
  nodes does not run in circles. (Two nodes whose latest change is the same may give the same index,
  and one of them lack an older one: a client that changes from that one to the other, there and
  then, hears of it with the next change, or when its wait is over.)
- `cas` is checked by this node alone, in the turn of the write, against what it has heard:
  `KV-Condition-Scope: node`.

Deviations: `consistent` is taken, and the answer says what it is: `X-Consul-Effective-Consistency:
stale`. Every node is its own leader, and answers for its own datacenter only, although the data of
all is the same. A `recurse` delete is one delete for each key.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from kvgossip.api.access.rights import Right, Scope
from kvgossip.api.http.duration import go_duration_s
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.response import Answer
from kvgossip.api.http.route import Call, Family, Parameter, Route
from kvgossip.api.http.route_table import NotOffered
from kvgossip.api.http.schema import OCTETS, SWITCH, TEXT, Schema
from kvgossip.api.keys import CHECKED_HERE, until_kept
from kvgossip.api.listings import Listing, Listings
from kvgossip.api.routes.consul_answer import ANYWHERE, FAMILY, ConsulAnswers
from kvgossip.api.routes.consul_form import (
    Entries,
    Names,
    closing,
    encoded,
    item_of,
    modify_index,
    opening,
)
from kvgossip.api.routes.kv import VALUE, WRITE_STATUSES
from kvgossip.api.routes.kv_request import KEY, refuse_headers
from kvgossip.api.routes.watch import POLL_LOOKS_S, WatchRoutes
from kvgossip.protocol.model.entry import Entry, entry_of
from kvgossip.protocol.model.key import check_key
from kvgossip.runtime.changes.watchers import Topic

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

WAIT_S, WAIT_MAX_S = 300.0, 600.0
WAIT_SPREAD = 1 / 16
"""A wait lasts up to so much longer, so that those who began together do not end together."""
STRANGE_WAIT_S = 0.5
DELETES_AT_A_TIME = 256
INDEX_MAX = 2**64 - 1
NO_LOCKS = (
    "there are no sessions and no locks: both halves of a cluster that is split would hold them"
)
_REASONS = {
    "/v1/session": NO_LOCKS,
    "/v1/txn": "there are no transactions: every key is written, spread and merged by itself",
}

_NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": INDEX_MAX}
_RECURSE = Parameter("query", "recurse", SWITCH, "all keys that start with this one")
_CAS = Parameter(
    "query",
    "cas",
    _NUMBER,
    "only if this is the ModifyIndex on this node; 0: only if there is no such key",
)
_READ = (
    _RECURSE,
    Parameter("query", "keys", SWITCH, "the names of all keys that start with this one"),
    Parameter("query", "separator", TEXT, "names up to this, each once"),
    Parameter("query", "raw", SWITCH, "the bytes of the value"),
    Parameter(
        "query", "index", _NUMBER, "an X-Consul-Index, or a ModifyIndex: wait for a change after it"
    ),
    Parameter("query", "wait", TEXT, "how long, as Go writes durations; default 5m, at most 10m"),
)
_WRITE = (
    Parameter("query", "flags", _NUMBER, "kept with the value"),
    _CAS,
    Parameter("query", "acquire", TEXT, NO_LOCKS, offered=False),
    Parameter("query", "release", TEXT, NO_LOCKS, offered=False),
)
_DID: Schema = {"type": "boolean", "description": "false: cas does not hold"}
_ENTRY: Schema = {
    "type": "object",
    "required": ["LockIndex", "Key", "Flags", "Value", "CreateIndex", "ModifyIndex"],
    "properties": {
        "Key": TEXT,
        "Flags": _NUMBER,
        "Value": {"type": ["string", "null"], "contentEncoding": "base64"},
        "ModifyIndex": _NUMBER,
    },
}
_ENTRIES: Schema = {"type": "array", "items": {"anyOf": [_ENTRY, TEXT]}}


def _scope_of(call: Call) -> Scope:
    return Scope(decode_key(call.key), call.is_on("recurse") or call.is_on("keys"))


class ConsulRoutes(Family):
    """/v1/kv. Blocking queries count among the watchers of `watching`."""

    def __init__(
        self, node: Node, consul: ConsulAnswers, watching: WatchRoutes, listings: Listings
    ) -> None:
        self._node, self._consul, self._watching = node, consul, watching
        self._listings = listings

    # -- reads ------------------------------------------------------------------------------------

    async def get(self, call: Call) -> Answer:
        """One key, or all that start with `key`. 404 with an empty body where there is none."""
        self._consul.check(call)
        key, pretty = decode_key(call.key), call.is_on("pretty")
        names = call.is_on("keys")
        lists = names or call.is_on("recurse")
        _check(key, lists)
        # raises NotSettledError before the wait, and not after it
        self._node.record(key)
        topic = Topic(key, exact=not lists)
        await self._block(call, topic)
        if lists:
            separator = call.query.get("separator", "")
            form = Names(key, separator, pretty) if names else Entries(pretty)
            return self._list(await self._listings.of(key), form, names and not key)
        index, entry = self._node.feed.last_index(topic), self._node.entry(key)
        if entry is None:
            return self._consul.absent(index)
        if call.is_on("raw"):
            return self._consul.raw(entry.value, index)
        return self._consul.json(200, encoded([item_of(entry)], pretty), index)

    def _list(self, listing: Listing, form: Entries | Names, may_be_empty: bool) -> Answer:
        if not listing.keys:
            return (
                self._consul.json(200, b"[]", listing.index)
                if may_be_empty
                else self._consul.absent(listing.index)
            )
        begin, end = opening(form.pretty), closing(form.pretty)
        if listing.is_short:
            return self._consul.json(200, begin + listing.whole(form) + end, listing.index)
        return self._consul.download(_parts(listing, form, begin, end), listing.index)

    async def _block(self, call: Call, topic: Topic) -> None:
        """Until something has changed that the client has not seen, but no longer than it wants to
        wait."""
        after = _number("index", call.query.get("index", "0"))
        wait_s = min(go_duration_s("wait", call.query.get("wait", "0")) or WAIT_S, WAIT_MAX_S)
        feed = self._node.feed
        index = feed.last_index(topic)
        seen = after == index
        if after < index:
            latest = self._latest(topic)
            is_latest = latest is not None and modify_index(latest) == after
            if not after or (not is_latest and (topic.exact or latest is not None)):
                return
            # as the index of an older change it would say that the client lacks the latest one
            seen = is_latest and not feed.gave(after, topic)
        wait_s = (
            wait_s + random.uniform(0.0, wait_s * WAIT_SPREAD)
            if seen
            else min(wait_s, STRANGE_WAIT_S)
        )
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + wait_s
        with self._watching.polling():
            while feed.last_index(topic) == index and (left_s := ends_s - loop.time()) > 0:
                if call.request.transport is None:
                    raise ConnectionResetError("the client has gone")
                await feed.wait(topic, index, min(left_s, POLL_LOOKS_S))

    def _latest(self, topic: Topic) -> Entry | None:
        """The entry of the key; or the latest one that came under the prefix, where it is known."""
        if topic.exact:
            return self._node.entry(topic.text)
        change = self._node.feed.latest(topic)
        return None if change is None else entry_of(change.key, change.new_record)

    # -- writes -----------------------------------------------------------------------------------

    async def put(self, call: Call) -> Answer:
        """`true` once it is kept, `false` where `cas` does not hold. A value that is there
        already, with these flags, is not written again."""
        refuse_headers(call.request)
        self._consul.check(call)
        key, asked = decode_key(call.key), call.query
        if "acquire" in asked or "release" in asked:
            raise RequestError(
                501,
                NO_LOCKS,
                "nothing was changed; cas= keeps clients of one node from overwriting each other",
            )
        flags, cas = _number("flags", asked.get("flags", "0")), _cas_of(asked)
        _check(key, False)
        value = await call.body()
        # before it has settled a node takes writes, but cannot tell whether a condition holds
        found = self._node.entry(key) if cas is not None or self._node.settled else None
        if cas is not None and cas != modify_index(found):
            return self._did(False, key, cas)
        if found is not None and (found.value, found.flags, found.expires_ms) == (
            value,
            flags,
            None,
        ):
            await until_kept(self._node.kept())
        else:
            await until_kept(self._node.begin_put(key, value, flags=flags).durable)
        return self._did(True, key, cas)

    async def delete(self, call: Call) -> Answer:
        """`true`, also where there was nothing; `false` where `cas` does not hold."""
        refuse_headers(call.request)
        self._consul.check(call)
        key, cas, lists = decode_key(call.key), _cas_of(call.query), call.is_on("recurse")
        if lists and cas is not None:
            raise RequestError(
                400,
                "recurse and cas exclude each other",
                "nothing was changed; delete the keys one by one",
            )
        _check(key, lists)
        if lists:
            await self._delete_all(key)
            return self._did(True, key, None)
        if (
            cas is not None
            and (found := self._node.entry(key)) is not None
            and cas != modify_index(found)
        ):
            return self._did(False, key, cas)
        written = self._node.begin_delete(key)
        if written is None:
            # raises NotSettledError where the node cannot tell that there is nothing
            self._node.record(key)
        await until_kept(written.durable if written is not None else self._node.kept())
        return self._did(True, key, cas)

    async def _delete_all(self, prefix: str) -> None:
        """Each key that is there now, or comes behind those that were deleted already, once."""
        after = ""
        while page := self._node.records(prefix, after, DELETES_AT_A_TIME):
            await asyncio.gather(*(self._node.delete(key) for key, _ in page))
            after = page[-1][0]

    def _did(self, done: bool, key: str, cas: int | None) -> Answer:
        index = self._node.feed.last_index(Topic(key, exact=True))
        return self._consul.json(
            200, b"true" if done else b"false", index, "" if cas is None else CHECKED_HERE
        )

    ROUTES = (
        Route(
            "GET",
            "/v1/kv/{key}",
            get,
            Right.READ,
            "Consul: entries, or with `keys` their names. 404 has no body.",
            _ENTRIES,
            (404, 431),
            parameters=(KEY, *_READ, *ANYWHERE),
            scope=_scope_of,
            other_content=(("text/plain", OCTETS),),
            bare=(404,),
            key_optional=True,
            counted_as=FAMILY,
        ),
        Route(
            "PUT",
            "/v1/kv/{key}",
            put,
            Right.WRITE,
            "Consul: store a value.",
            _DID,
            WRITE_STATUSES,
            parameters=(KEY, *_WRITE, *ANYWHERE),
            scope=_scope_of,
            body=VALUE,
            counted_as=FAMILY,
        ),
        Route(
            "DELETE",
            "/v1/kv/{key}",
            delete,
            Right.WRITE,
            "Consul: delete.",
            _DID,
            WRITE_STATUSES,
            parameters=(KEY, _RECURSE, _CAS, *ANYWHERE),
            scope=_scope_of,
            counted_as=FAMILY,
        ),
    )


def not_offered(path: str) -> RequestError:
    """Why there is no such path under /v1/."""
    reasons = (reason for start, reason in _REASONS.items() if f"{path}/".startswith(f"{start}/"))
    return RequestError(
        501,
        next(reasons, f"{path[:100]} is not offered"),
        "of Consul's API a node has /v1/kv, /v1/agent/members, /v1/agent/self, /v1/status and "
        "/v1/catalog/datacenters",
    )


NOT_OFFERED = NotOffered("/v1/", FAMILY, "Consul's under /v1/", not_offered)


async def _parts(
    listing: Listing, form: Entries | Names, begin: bytes, end: bytes
) -> AsyncGenerator[bytes, None]:
    yield begin
    async with aclosing(listing.portions(form)) as portions:
        async for portion in portions:
            yield portion
    yield end


def _check(key: str, lists: bool) -> None:
    """Raises BadKeyError for what is no key, or, where it is to be a prefix, for what no key starts
    with."""
    if not lists and not key:
        raise RequestError(
            400,
            "there is no key in the path",
            "ask for /v1/kv/{key}, or with recurse or keys for all",
        )
    if key or not lists:
        check_key(f"{key}x" if lists else key)


def _cas_of(asked: Mapping[str, str]) -> int | None:
    return _number("cas", asked["cas"]) if "cas" in asked else None


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= INDEX_MAX):
        raise RequestError(
            400,
            f"{name} = {text[:100]!r} is not a number of 64 bits",
            f"use a whole number from 0 to {INDEX_MAX}",
        )
    return int(text)
