"""Keeper: the last step of anti-entropy on either side: the entries that came are kept, or not.

News that an exchange brings does not spread as rumors in this pool: after a healed partition the
other peers see a different root themselves, while rumors would carry the whole difference to
everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kvgossip.protocol.merging import MergePort, Origin, Outcome, Spread
from kvgossip.protocol.model.entry import TYPED
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.message import Pair


class Kept(NamedTuple):
    """The outcome of the entries of a message: how many were `news`; the fingerprints of those that
    were `refused`, and of those that this replica has `collected`, perhaps for an expiry of up to
    `expired_ms`, as it has the `parts` of typed ones, a fingerprint and a dot each; and of the own
    entries that were `replaced` by those that came. `joined`: of own ones that have joined with
    what came, that of what they have come to. `set_back`: one of them shows that this machine was
    set back, and the rest was not taken."""

    news: int
    refused: list[int]
    collected: Sequence[int] = ()
    expired_ms: int = 0
    replaced: Sequence[int] = ()
    set_back: bool = False
    joined: Mapping[int, int] = {}
    parts: Sequence[bytes] = ()


class Keeper:
    """Offers entries of exchanges to the port of the replica."""

    def __init__(
        self, kind: PoolKind, store: Store, tombstones: Tombstones, merging: MergePort
    ) -> None:
        #: the residue of rumors: how many entries exchanges have brought
        self.news = 0
        self._kind, self._store, self._merging = kind, store, merging
        self._tombstones = tombstones

    def keep(self, entries: Iterable[Pair], peer: str, now: Now, *, shows: bool = True) -> Kept:
        """Merge the entries that this peer sent; `shows` as in Origin. An entry that is refused
        costs itself alone (lesson 8)."""
        store, news = self._store, 0
        refused: list[int] = []
        collected: list[int] = []
        replaced: list[int] = []
        joined: dict[int, int] = {}
        parts: list[bytes] = []
        set_back = False
        origin = Origin(Peer(self._kind, peer), Spread.NONE, shows)
        waiting = iter(entries)
        for key, record in waiting:
            old = store.record(key)
            gone: Sequence[bytes] = ()
            if record and record[0] & TYPED:
                outcome, gone = self._merging.merge_parts(key, record, now, origin)
            else:
                outcome = self._merging.merge(key, record, now, origin)
            if gone:
                named = store.digest.fingerprint(key, record).to_bytes(8, "big")
                parts += [named + dot for dot in gone]
            if outcome is Outcome.NEWS:
                news += 1
                if old is not None and record[0] & TYPED and (new := store[key]) != record:
                    # what it has come to, the peer has not
                    joined[store.digest.fingerprint(key, old)] = store.digest.fingerprint(key, new)
                elif old is not None:
                    replaced.append(store.digest.fingerprint(key, old))
            elif outcome is Outcome.LOST:
                refused += store.digest.fingerprints([(key, record), *waiting])
                set_back = True
                break
            elif outcome is Outcome.REFUSED or (outcome is Outcome.COLLECTED and not gone):
                (refused if outcome is Outcome.REFUSED else collected).append(
                    store.digest.fingerprint(key, record)
                )
        self.news += news
        expired_ms = self._tombstones.expired_ms(now) if collected or parts else 0
        return Kept(news, refused, collected, expired_ms, replaced, set_back, joined, parts)
