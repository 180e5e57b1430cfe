"""Batches: writes that travel and are merged as one, so that a node that hears of a batch shows all
of it or nothing.

Laws
- The writes of a batch are made in one input, with consecutive timestamps, and so is their merge at
  a peer: nobody sees a part in between.
- A batch is one rumor: one Bundle in a datagram where it fits, else a notice, after which the
  Bundle is fetched over a link like a large body.
- An entry that is superseded by a newer write counts as shown.

One thing is not promised, as repair works key by key. A node that missed the batch, and catches up
by exchanges, may show a part of it until its exchange completes. To hold parts back there would
mean not to show entries whose fingerprints the digest has to count, from a node that perhaps never
gets the rest, as its part was superseded elsewhere: two nodes with equal data would have to show
different things.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvgossip.protocol.model.entry import version_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.message import Pair

KEPT_MAX = 256
KEPT_BYTES_MAX = 16 * 2**20


def key_of(entries: Sequence[Pair]) -> str:
    """The name of a batch where rumors have a key: no key of an entry starts with a slash."""
    return f"/{version_of(entries[0][1])}"


def is_batch_key(key: str) -> bool:
    return key.startswith("/")


class Batches:
    """The last batches that were too large for a datagram, for peers that fetch them.

    Each is kept for `keep_s`, and not longer than twice that: then its rumor has long cooled, and
    an exchange brings it to those that never got it.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        #: the time at which `age` has something to do again, monotonic seconds
        self._turn_s = 0.0
        #: by key, the oldest first
        self._kept: dict[str, tuple[Pair, ...]] = {}
        #: the keys that were there at the last turn
        self._aged: list[str] = []
        #: of the records of all
        self._bytes = 0

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def get(self, key: str) -> tuple[Pair, ...] | None:
        return self._kept.get(key)

    def keep(self, entries: tuple[Pair, ...]) -> None:
        key = key_of(entries)
        if key in self._kept:
            return
        self._kept[key] = entries
        self._bytes += _size(entries)
        while len(self._kept) > KEPT_MAX or self._bytes > KEPT_BYTES_MAX:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: str) -> None:
        self._bytes -= _size(self._kept.pop(key, ()))

    def age(self, now: Now) -> None:
        """To be called now and then."""
        if now.monotonic_s >= self._turn_s:
            self._turn_s = now.monotonic_s + self._keep_s
            for key in self._aged:
                self._forget(key)
            self._aged = list(self._kept)


def _size(entries: Sequence[Pair]) -> int:
    return sum(len(record) for _, record in entries)
