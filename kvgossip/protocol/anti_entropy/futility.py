"""Futility: differences that bring nobody anything, three times with the same roots: no endless
repair loop (lesson 5).

The push-pull floor still tries, so that it ends by itself when the cause was a clock.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from kvgossip.protocol.anti_entropy.initiator import SHOWN, Exchange
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.store import Store

FUTILE_MAX = 3
SHOWN_DIGITS = 128


class Futile(NamedTuple):
    """How often an exchange brought nothing while both roots stayed the same."""

    times: int
    mine: int
    theirs: int


NEVER = Futile(0, 0, 0)


class Futility:
    """Of one pool."""

    def __init__(self, store: Store, outbox: Outbox) -> None:
        self._store, self._outbox = store, outbox
        #: how many differences were given up
        self.count = 0
        #: by name, the last root that probes have shown to differ
        self._roots: dict[str, int] = {}
        #: by name
        self._futile: dict[str, Futile] = {}

    def differs(self, peer: str, root: int) -> bool:
        """A probe has shown this root of the peer, which is not ours: true if it is given up."""
        self._roots[peer] = root
        return self.gave_up(peer)

    def gave_up(self, peer: str) -> bool:
        """True if the last exchanges brought nothing, and neither root has changed since."""
        root = self._roots.get(peer)
        if root is None:
            return False
        given_up = Futile(FUTILE_MAX, self._store.digest.root, root)
        return self._futile.get(peer, NEVER) == given_up

    def equals(self, peer: str) -> None:
        """Its root is ours."""
        self._futile.pop(peer, None)

    def judge(self, exchange: Exchange) -> None:
        """This exchange has completed."""
        peer, root = exchange.peer, self._store.digest.root
        if exchange.brought or exchange.differing is None or peer not in self._roots:
            self._futile.pop(peer, None)
            return
        last = self._futile.get(peer, NEVER)
        same = (last.mine, last.theirs) == (root, self._roots[peer])
        self._futile[peer] = Futile(
            min(last.times + 1, FUTILE_MAX) if same else 1, root, self._roots[peer]
        )
        if same and last.times == FUTILE_MAX - 1 and not exchange.context.left_out:
            self.count += 1
            self._complain(exchange, exchange.differing)

    def _complain(self, exchange: Exchange, differing: tuple[int, int]) -> None:
        store = self._store
        ours = {
            key: record.hex()[:SHOWN_DIGITS]
            for key, record in islice(store.entries_in(*differing), SHOWN)
        }
        theirs = {key: record.hex()[:SHOWN_DIGITS] for key, record in exchange.refused}
        text = (
            f"the digest of {exchange.peer!r} differs from ours in bucket {differing[1]} of level "
            f"{differing[0]}, but {FUTILE_MAX} "
            f"exchanges have brought nothing: not repaired until something changes. Ours: {ours}; "
            f"refused of theirs: {theirs}"
        )
        self._outbox.log("ERROR", text)

    def forget(self, peer: str) -> None:
        """It is no peer any more."""
        self._roots.pop(peer, None)
        self._futile.pop(peer, None)
