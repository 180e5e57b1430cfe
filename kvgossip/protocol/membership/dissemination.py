"""Dissemination: the membership news that rides along with packets that are sent anyway (SWIM
section 4.1).

Laws
- Each piece of news is sent `retransmit_multiplier` * ceil(log10(members + 1)) times, the least
  sent first.
- Newer news about a name takes the place of older news: that is not sent any more.
- The queue is bounded, also where there is nobody to send it to.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sized

from kvgossip.config import Config
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire.unit import encode

NEWS_FACTOR, NEWS_MIN = 4, 64


class Dissemination:
    """`members`: as many as there are decide how often news is sent."""

    def __init__(self, config: Config, members: Sized) -> None:
        self._config, self._members = config, members
        #: name, encoded unit, and how many times it is still to be sent; least sent first
        self._queue: deque[tuple[str, bytes, int]] = deque()
        #: the unit of each name that is still true
        self._latest: dict[str, bytes] = {}

    def __len__(self) -> int:
        """How many units wait, outdated ones among them."""
        return len(self._queue)

    @property
    def has_news(self) -> bool:
        return bool(self._queue)

    def is_spreading(self, name: str) -> bool:
        """True if there is news about this name."""
        return name in self._latest

    def spread(self, member: Member) -> None:
        """Queue this record; one without an address is of no use to anybody."""
        if member.host:
            self.spread_unit(member.name, encode(member))

    def spread_unit(self, name: str, unit: bytes) -> None:
        """Queue this encoded message as the news about the name."""
        times = self._config.retransmit_multiplier * math.ceil(math.log10(len(self._members) + 1))
        self._latest[name] = unit
        self._queue.appendleft((name, unit, times))
        bound = NEWS_FACTOR * len(self._members) + NEWS_MIN
        if len(self._queue) > bound:
            # nobody takes it: keep what is still true
            self._queue = deque(
                news for news in self._queue if self._latest.get(news[0]) is news[1]
            )
            # of names that are no members there may be any number: what was sent most often goes
            while len(self._queue) > bound // 2:
                del self._latest[self._queue.pop()[0]]

    def drop(self, name: str) -> None:
        """Nobody is to hear of this name any more."""
        self._latest.pop(name, None)

    def take_news(self, room: int) -> Iterator[bytes]:
        """Encoded units that fit into `room` bytes: least sent first, each counted as sent once."""
        for _ in range(len(self._queue)):
            name, unit, times = self._queue[0]
            if len(unit) > room:
                return
            self._queue.popleft()
            if self._latest.get(name) is not unit:
                continue
            if times > 1:
                self._queue.append((name, unit, times - 1))
            else:
                del self._latest[name]
            room -= len(unit)
            yield unit

    def riding(self, room: int) -> Iterator[bytes]:
        """The same without counting: for what goes to nobody in particular."""
        for name, unit, _ in self._queue:
            if len(unit) <= room and self._latest.get(name) is unit:
                room -= len(unit)
                yield unit
