"""Slots: with whom this node exchanges, and for how long: at most EXCHANGES_MAX at a time.

A peer that answers a little now and then, by its own fault or with intent, must not keep this node
from the others. A total time would end the first copy of a large store as well, so there is a least
speed instead.

Laws
- An exchange has an end: beyond PATIENCE answer timeouts it must have brought LEAST_BYTES_PER_S.
  Where others wait it has one timeout, and makes room then; but not for those
  that are slow themselves, unless its own peer is.
- Who has waited longest comes first, so a slot is never given to the same peer twice in a row while
  others wait.
- Who was cut, too slow or silent, is behind all others until an exchange with him completes, and
  such peers have all slots but one: however many they are, the others find one.
- What was brought is what either side lacked, and it is taken at its word for what it says it
  lacked: a liar who pulls at that speed for ever costs one of the slots.
- A cut loses nothing: what was merged stays, and the next exchange finds the rest.
"""

from __future__ import annotations

from kvgossip.protocol.anti_entropy.initiator import Exchange
from kvgossip.protocol.model.ordered_set import OrderedSet

EXCHANGES_MAX = 2
PATIENCE = 3
LEAST_BYTES_PER_S = 16 * 1024


class Slots:
    """`timeout_s`: how long one answer may take."""

    def __init__(self, timeout_s: float) -> None:
        #: by number
        self.running: dict[int, Exchange] = {}
        #: by name of the peer: true if its root is known to differ
        self._waiting: dict[str, bool] = {}
        #: the peers whose last exchange was cut
        self._slow: OrderedSet[str] = OrderedSet()
        self._timeout_s = timeout_s

    def wait(self, peer: str, *, differs: bool) -> None:
        """Exchange with this peer, unless that is being done, when it is its turn."""
        if not any(exchange.peer == peer for exchange in self.running.values()):
            self._waiting[peer] = differs

    def next(self) -> tuple[str, bool] | None:
        """The peer whose turn it is, and whether its root is known to differ; None where nobody
        waits, or there is no slot."""
        if len(self.running) >= EXCHANGES_MAX:
            return None
        slow = sum(exchange.peer in self._slow for exchange in self.running.values())
        for peer in self._waiting:
            if peer not in self._slow:
                return peer, self._waiting.pop(peer)
        if self._waiting and slow < EXCHANGES_MAX - 1:
            peer = next(iter(self._waiting))
            return peer, self._waiting.pop(peer)
        return None

    def end_s(self, exchange: Exchange) -> float:
        """Until when this exchange may last, as it stands, monotonic seconds."""
        makes_room = any(
            peer not in self._slow or exchange.peer in self._slow for peer in self._waiting
        )
        patience_s = self._timeout_s * (1 if makes_room else PATIENCE)
        return exchange.began_s + patience_s + exchange.brought_bytes / LEAST_BYTES_PER_S

    def cut(self, exchange: Exchange, *, slow: bool) -> bool:
        """This exchange is over before its end; false where it was before. `slow`: its peer took
        too long."""
        if self.running.pop(exchange.number, None) is None:
            return False
        if slow:
            self._slow.add(exchange.peer)
        return True

    def completed(self, exchange: Exchange) -> None:
        del self.running[exchange.number]
        self._slow.discard(exchange.peer)

    def forget(self, peer: str) -> None:
        """It is no peer any more."""
        self._slow.discard(peer)
