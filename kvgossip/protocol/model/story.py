"""Story: what this node heard of some keys: when, of which version, by whom, and when it forgot.

An operator switches it on for the keys under a prefix, or for a share of them, and for a while; the
order goes to all members (story_messages.py), so their stories of a key fit together. A share is
chosen by a hash of the key, which is the same on all nodes: so all tell of the same keys.

Laws
- Off, which it is unless somebody asks, it costs each merge that is news one look at a flag. It
  ends by itself, at the first event after its time: nobody has to think of it.
- At most EVENTS_MAX events of all keys are kept, in memory; the oldest go first. `since_ms` says
  from when on nothing is missing: who reads a story sees how much of it there is.
- What brings no news is no event: of many that offer a version, the first one is in the story.
- A later life on the same disk goes on with the order, and tells what the disk had; the events of
  the earlier one are gone.
- Times are what the wall clock of this node showed. Whoever compares those of several nodes takes
  their distance into account (clock_guard.py).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta
from xxhash import xxh3_64_intdigest

from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.entry import HEAD_BYTES, is_dead
from kvgossip.protocol.model.member import Count
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer

EVENTS_MAX = 4096
STEPS_MAX = 256
"""The newest of a key that an answer holds."""
FOR_S_MAX = 86_400
STORY = b"replica/story"
"""The fact of the order, for later lives."""

_Word = Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9._-]*\Z")]
_Version = Annotated[bytes, Meta(min_length=16, max_length=16)]


class Watch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order: keep the story of this share of the keys that start with `prefix`, for so many
    seconds from now; 0: of none any more."""

    prefix: Annotated[str, Meta(max_length=1024)] = ""
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    for_s: Annotated[int, Meta(ge=0, le=FOR_S_MAX)] = 0

    def covers(self, key: str) -> bool:
        return key.startswith(self.prefix) and (
            self.share >= 1.0 or xxh3_64_intdigest(key.encode()) < self.share * 2**64
        )


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event of a key. `at_ms`: by this node's wall clock. `version`: as records have it;
    `deleted`: it is a tombstone. `peer`, `pool`: who brought it, or said that it must go; empty
    where nobody did, or nobody knows who.

    `what` is one of
    - write, import      a client of this node wrote it; or it was in a backup
    - rumor, exchange    the peer brought it so
    - disk               it was there at the start
    - expired, revived   it is served no more, though its record is here; or it is again, as the
                         clock was set back
    - collected          its record was taken out
    - quarantined        the same of a live value, since the peer said that it was deleted
    """

    at_ms: Count
    what: _Word
    version: _Version
    deleted: bool = False
    peer: _Word = ""
    pool: _Word = ""


class Forgotten(NamedTuple):
    """A record that is served no more, or again; `what` and `peer` as in Step."""

    what: str
    key: str
    record: bytes
    peer: str = ""


class Story:
    """Of one life of a node. `saved`: the fact that an earlier life left; `now`: the start."""

    __slots__ = ("_events", "_start_ms", "_until_s", "_watch", "on", "since_ms")

    def __init__(self, saved: bytes | None, now: Now) -> None:
        #: true while events are kept: what each merge looks at
        self.on = False
        #: from when on nothing is missing, wall ms
        self.since_ms = self._start_ms = now.wall_ms
        self._watch, self._until_s = Watch(), now.monotonic_s
        #: with their keys, oldest first
        self._events: deque[tuple[str, Step]] = deque(maxlen=EVENTS_MAX)
        if saved is not None:
            watch, until_ms = _decode(saved)
            left_s = min((until_ms - now.wall_ms) / 1000, watch.for_s)
            if left_s > 0:
                self._begin(watch, now.monotonic_s + left_s, now)

    # -- the order --------------------------------------------------------------------------------

    def order(self, watch: Watch, now: Now) -> list[Persist]:
        """From now on this order is in force. Events of keys that it covers stay; so a repeated one
        goes on. Returns the fact of it, for later lives."""
        same = (watch.prefix, watch.share) == (self._watch.prefix, self._watch.share)
        if not same or self.watch(now) is None:
            self._events.clear()
            self.since_ms = now.wall_ms
        self._begin(watch, now.monotonic_s + watch.for_s, now)
        until_ms = now.wall_ms + 1000 * watch.for_s
        return [Persist(STORY, _encode((watch, until_ms)) if watch.for_s else None)]

    def _begin(self, watch: Watch, until_s: float, now: Now) -> None:
        self._watch, self._until_s = watch, until_s
        self.on = until_s > now.monotonic_s

    def watch(self, now: Now) -> Watch | None:
        """The order in force, with the time that it has left; None: there is none."""
        left_s = self._until_s - now.monotonic_s
        if left_s <= 0:
            return None
        return Watch(self._watch.prefix, self._watch.share, math.ceil(left_s))

    def until_ms(self, now: Now) -> int:
        """When the order ends, or has ended, wall ms."""
        return now.wall_ms + round(1000 * (self._until_s - now.monotonic_s))

    # -- events -----------------------------------------------------------------------------------

    def heard(
        self,
        key: str,
        record: bytes,
        now: Now,
        peer: Peer | None,
        *,
        by_exchange: bool,
        shows: bool,
    ) -> None:
        """This record is news; the others as in Origin (merging.py)."""
        if peer is None:
            self._add("write", key, record, now)
        elif not peer.name:
            # of a rumor without a sender nobody is shown to hold it
            self._add("import" if shows else "rumor", key, record, now)
        else:
            what = "exchange" if by_exchange else "rumor"
            self._add(what, key, record, now, peer.name, peer.pool.value)

    def loaded(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """These were on the disk at the start."""
        for key, record in entries:
            if self._watch.covers(key):
                version = record[1:HEAD_BYTES]
                self._keep(key, Step(self._start_ms, "disk", version, is_dead(record)))

    def forgot(self, records: Iterable[Forgotten], now: Now) -> None:
        """These records went, or came back."""
        if now.monotonic_s >= self._until_s:
            self.on = False
            return
        for what, key, record, peer in records:
            self._add(what, key, record, now, peer)

    def _add(
        self, what: str, key: str, record: bytes, now: Now, peer: str = "", pool: str = ""
    ) -> None:
        if now.monotonic_s >= self._until_s:
            self.on = False
        elif self._watch.covers(key):
            version = record[1:HEAD_BYTES]
            self._keep(key, Step(now.wall_ms, what, version, is_dead(record), peer, pool))

    def _keep(self, key: str, step: Step) -> None:
        events = self._events
        if len(events) == EVENTS_MAX:
            self.since_ms = events[0][1].at_ms
        events.append((key, step))

    # -- questions --------------------------------------------------------------------------------

    def of(self, key: str) -> list[Step]:
        """The newest STEPS_MAX events of this key, oldest first."""
        return [step for name, step in self._events if name == key][-STEPS_MAX:]

    def covers(self, key: str) -> bool:
        """True if the events that are kept, of the order in force or the last one, are those of
        this key too."""
        return bool(self._watch.for_s) and self._watch.covers(key)

    def __len__(self) -> int:
        return len(self._events)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Watch, int]).decode
