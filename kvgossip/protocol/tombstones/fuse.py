"""Fuse: how many live values one member's word may take out of this replica.

Up to LIMIT, or LIMIT_SHARE of all values, within WINDOW_S. What is beyond that waits until a second
member says the same of the same versions. So a member that errs, or lies, empties nobody, and a
node that was away for a month, and finds most of what it has deleted, needs nobody.

Where no second member is reachable, a node with a disk goes on: its quarantine keeps everything.
One without a disk waits for an operator (`confirm`), and never drops more than its quarantine
holds.

Two members that have both just come back do not vouch for each other: what one of them lost, the
other one may have lost as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.readiness import Reason
from kvgossip.protocol.store.store import Store

LIMIT = 100
LIMIT_SHARE = 0.01
WINDOW_S = 60.0
RETURNED_MS = 600_000
WAITING_MAX = 262_144
PEERS_MAX = 1024
MEMORY_VALUES_MAX = 1000
"""As many as a quarantine in memory holds (runtime/disk/quarantine.py)."""
HINT = (
    "look at what `kvgossip doctor` says of that member; if the values are really deleted, "
    "`kvgossip quarantine confirm` lets this node drop them"
)


class Holders(Protocol):
    def holders(self) -> Sequence[Member]:
        """All members that count."""


class Word(NamedTuple):
    """What one member has made this replica drop: since when, monotonic seconds, how many, and how
    many it may."""

    since_s: float
    dropped: int
    limit: int


class Fuse:
    """`durable`: this node has a disk."""

    def __init__(
        self,
        store: Store,
        members: Holders,
        outbox: Outbox,
        counters: Counter[str],
        *,
        durable: bool,
    ) -> None:
        self._store, self._members, self._durable = store, members, durable
        self._outbox, self._counters = outbox, counters
        self._words: Newest[str, Word] = Newest(PEERS_MAX)
        #: by version, as records have it, the member that says it was collected
        self._waiting: Newest[bytes, str] = Newest(WAITING_MAX)
        #: how many values went to the quarantine in memory
        self._dropped = 0
        self._stopped_by = ""

    def __len__(self) -> int:
        """How many values wait for a second word."""
        return len(self._waiting)

    def admit(self, versions: Sequence[bytes], peer: str, now: Now) -> list[bool]:
        """Of each of these versions of values that are here, and that this peer says it has
        collected, whether it may be dropped."""
        word = self._words.pop(peer, None)
        if word is None or now.monotonic_s - word.since_s >= WINDOW_S:
            word = Word(now.monotonic_s, 0, max(LIMIT, int(LIMIT_SHARE * self._store.live)))
        alone = self._is_alone(peer)
        goes_on = alone and self._durable
        blown = word.dropped > word.limit
        admitted: list[bool] = []
        for version in versions:
            first = self._waiting.get(version, peer)
            second = first != peer and not self._have_both_returned(first, peer, now)
            may = (second or goes_on or word.dropped < word.limit) and self._has_room
            admitted.append(may)
            if not may:
                self._waiting[version] = first
                word = word._replace(dropped=max(word.dropped, word.limit + 1))
                continue
            self._waiting.pop(version, None)
            self._dropped += 1
            if not second:
                word = word._replace(dropped=word.dropped + 1)
        self._words[peer] = word
        if word.dropped > word.limit and not blown:
            self._blow(peer, word.limit, alone=alone)
        return admitted

    @property
    def _has_room(self) -> bool:
        return self._durable or self._dropped < MEMORY_VALUES_MAX

    def _is_alone(self, peer: str) -> bool:
        return not any(
            member.reachable and member.name != peer for member in self._members.holders()
        )

    def _have_both_returned(self, one: str, other: str, now: Now) -> bool:
        young = [
            member.name
            for member in self._members.holders()
            if member.name in (one, other) and now.wall_ms - member.generation < RETURNED_MS
        ]
        return len(young) > 1

    def _blow(self, peer: str, limit: int, *, alone: bool) -> None:
        self._counters["drop_fuses_blown"] += 1
        text = (
            f"{peer!r} says of more than {limit} live values within a minute that they were deleted"
        )
        if alone and self._durable:
            self._outbox.log(
                "ERROR",
                f"{text}, and no other member can be asked: they go to the quarantine "
                "(`kvgossip quarantine list`)",
            )
        elif alone or not self._has_room:
            self._stopped_by = text
            self._outbox.log("ERROR", f"{text}: this node drops no more of them. {HINT}")
        else:
            self._outbox.log("WARNING", f"{text}: the rest waits until a second member says so")

    def confirm(self) -> int:
        """An operator says that what waits may go: how many values that are."""
        waiting = len(self._waiting)
        self._stopped_by, self._dropped = "", 0
        self._words.clear()
        for version in self._waiting:
            self._waiting[version] = ""
        return waiting

    def not_ready(self, now: Now) -> list[Reason]:
        """Who has made it stop."""
        if not self._stopped_by or not self._waiting:
            return []
        return [Reason("drops_stopped", f"{self._stopped_by}; {len(self)} wait", HINT)]
