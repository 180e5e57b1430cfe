"""Listings: all live records under a prefix, as they were at one moment, for all who ask for them.

Laws
- Who asks while a listing is being made gets that one. Who asks later gets it as well, while
  somebody reads it and nothing has changed under the prefix. So of thirty who wait for one change
  one makes the listing.
- A listing holds records, which the store has as well, and no text of them. Text is made a portion
  at a time, when the first of its readers comes to it, and the last portions, of KEPT_BYTES, are
  kept for those behind. Who is further behind makes the text again.
- What listings hold takes room (http/room.py): too many of them at a time are refused.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from kvgossip.api.http.errors import RETRY_AFTER, RequestError
from kvgossip.api.http.room import LONG_BYTES, Lease, Room
from kvgossip.errors import WatchLaggedError
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import is_dead
from kvgossip.runtime.changes.watchers import Topic

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

PAGE_KEYS = 256
PORTION_BYTES = LONG_BYTES
KEPT_BYTES = 8 * 2**20
ENTRY_BYTES = 128
"""What an entry takes beside its key and its record."""


class Form(Protocol):
    """How a listing becomes text. Forms that are equal make the same text."""

    def text(self, listing: Listing, start: int, end: int) -> bytes:
        """The entries from `start` to before `end`, after what stands between them and those
        before."""

    def __hash__(self) -> int: ...


class Listing:
    """`keys` in their order, and the `records` under them. `index`: the arrival index of all that
    is under the prefix, at that moment."""

    __slots__ = ("__weakref__", "_ends", "_kept", "_kept_bytes", "_lease", "index", "keys",
                 "records")  # fmt: skip

    def __init__(self, room: Room) -> None:
        self.keys: list[str] = []
        self.records: list[bytes] = []
        self.index = 0
        #: where those portions end that somebody has come to
        self._ends: list[int] = []
        self._kept: OrderedDict[tuple[Form, int], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._lease = Lease(room)

    @property
    def is_short(self) -> bool:
        """True if it is one portion."""
        return self._lease.held <= PORTION_BYTES

    def add(self, page: list[tuple[str, bytes]]) -> None:
        """Those that follow. Raises RequestError(503) where there is no room for them."""
        self._lease.grow(sum(ENTRY_BYTES + len(key) + len(record) for key, record in page))
        self.keys += [key for key, _ in page]
        self.records += [record for _, record in page]

    def change(self, changed: Changed) -> None:
        """This has changed since it was added, or since it would have been."""
        key, record = changed.key, changed.new_record
        at = bisect_left(self.keys, key)
        found = at < len(self.keys) and self.keys[at] == key
        if is_dead(record):
            del self.keys[at : at + found], self.records[at : at + found]
            return
        self._lease.grow(len(record))
        self.keys[at : at + found] = [key]
        self.records[at : at + found] = [record]

    def whole(self, form: Form) -> bytes:
        return form.text(self, 0, len(self.keys))

    async def portions(self, form: Form) -> AsyncGenerator[bytes, None]:
        """All of its text. Others have their turns between two portions."""
        number = start = 0
        while start < len(self.keys):
            end = self._end_of(number, start)
            yield self._portion(form, number, start, end)
            number, start = number + 1, end
            await asyncio.sleep(0)

    def _end_of(self, number: int, start: int) -> int:
        if number == len(self._ends):
            end, size = start, 0
            while end < len(self.keys) and size < PORTION_BYTES:
                size += ENTRY_BYTES + len(self.keys[end]) + len(self.records[end])
                end += 1
            self._ends.append(end)
        return self._ends[number]

    def _portion(self, form: Form, number: int, start: int, end: int) -> bytes:
        text = self._kept.get((form, number))
        if text is None:
            text = self._kept[form, number] = form.text(self, start, end)
            self._kept_bytes += len(text)
            while self._kept_bytes > KEPT_BYTES:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= len(oldest)
        return text


class Listings:
    """Those of one server."""

    def __init__(self, node: Node, room: Room) -> None:
        self._node, self._room = node, room
        self._latest: WeakValueDictionary[str, Listing] = WeakValueDictionary()
        self._making: dict[str, asyncio.Task[Listing]] = {}

    async def of(self, prefix: str) -> Listing:
        """All live records under the prefix at a moment from now on. Raises NotSettledError, and
        RequestError(503) where there is no room."""
        latest = self._latest.get(prefix)
        if latest is not None and self._node.feed.last_index(Topic(prefix)) == latest.index:
            return latest
        making = self._making.get(prefix)
        if making is None:
            making = self._making[prefix] = asyncio.create_task(self._make(prefix))
            making.add_done_callback(_seen)
        # a client that goes takes it from nobody else
        return await asyncio.shield(making)

    async def _make(self, prefix: str) -> Listing:
        listing, feed, topic = Listing(self._room), self._node.feed, Topic(prefix)
        try:
            at, after = feed.index, ""
            while page := self._node.records(prefix, after, PAGE_KEYS):
                listing.add(page)
                after = page[-1][0]
                if len(page) < PAGE_KEYS:
                    break
                await asyncio.sleep(0)
            while at < feed.index:
                arrivals, at = feed.read(at, topic)
                for _, changed, _ in arrivals:
                    listing.change(changed)
                if at < feed.index:
                    await asyncio.sleep(0)
            listing.index = feed.last_index(topic)
            self._latest[prefix] = listing
            return listing
        except WatchLaggedError:
            raise RequestError(
                503, "the data changes faster than it can be listed", "try again", RETRY_AFTER
            ) from None
        finally:
            # in the turn of the moment: who comes later may have written something since
            del self._making[prefix]


def _seen(made: asyncio.Task[Listing]) -> None:
    """asyncio complains of failures that nobody has seen: all who asked may have gone."""
    if not made.cancelled():
        made.exception()
