"""Share: what one pool of a replica sees of the data that all its pools share."""

from __future__ import annotations

from typing import Protocol

from kvgossip.config import Address
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.anti_entropy.survey import Surveys
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.merging import Outcome, Spread
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.rumors.batches import Batches
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import KeyringOrder, KeyringReport, Measured, Pair


class Owner(Protocol):
    """The replica, as its shares see it: what comes from a pool is told to it together with which
    pool it was."""

    store: Store
    blocklist: Blocklist
    batches: Batches
    acks: AckTracker
    surveys: Surveys
    keyring: Keyring | None
    identity: Identity | None
    tombstones: Tombstones
    news_s: float

    @property
    def sync_state(self) -> SyncState: ...

    def merge(
        self, key: str, record: bytes, now: Now, *, heard_from: str, spread: Spread, pool: PoolKind
    ) -> Outcome: ...

    def merge_batch(
        self,
        entries: tuple[Pair, ...],
        now: Now,
        *,
        heard_from: str,
        spread: Spread,
        pool: PoolKind,
    ) -> Outcome: ...

    def saw_clock(self, peer: str, wall_ms: int, asked_s: float, now: Now) -> None: ...

    def introduced(self) -> None: ...

    def exchanged(self, peer: str, peer_sync_state: SyncState, now: Now) -> None: ...

    def keyring_heard(
        self, told: KeyringOrder | KeyringReport, source: Address, now: Now, pool: PoolKind
    ) -> None: ...


class Share:
    """Data (see merging.py) of one pool."""

    __slots__ = (
        "_owner",
        "_pool",
        "acks",
        "batches",
        "blocklist",
        "identity",
        "keyring",
        "store",
        "tombstones",
    )

    def __init__(self, owner: Owner, pool: PoolKind) -> None:
        self.store, self.blocklist, self.tombstones = owner.store, owner.blocklist, owner.tombstones
        self.batches, self.acks = owner.batches, owner.acks
        self.keyring, self.identity = owner.keyring, owner.identity
        self._owner, self._pool = owner, pool

    @property
    def news_s(self) -> float:
        return self._owner.news_s

    @property
    def sync_state(self) -> SyncState:
        return self._owner.sync_state

    def merge(
        self, key: str, record: bytes, now: Now, *, heard_from: str, spread: Spread
    ) -> Outcome:
        return self._owner.merge(
            key, record, now, heard_from=heard_from, spread=spread, pool=self._pool
        )

    def saw_clock(self, peer: str, wall_ms: int, asked_s: float, now: Now) -> None:
        self._owner.saw_clock(peer, wall_ms, asked_s, now)

    def introduced(self) -> None:
        self._owner.introduced()

    def exchanged(self, peer: str, peer_sync_state: SyncState, now: Now) -> None:
        self._owner.exchanged(peer, peer_sync_state, now)

    def keyring_heard(self, told: KeyringOrder | KeyringReport, source: Address, now: Now) -> None:
        self._owner.keyring_heard(told, source, now, self._pool)

    def merge_batch(
        self, entries: tuple[Pair, ...], now: Now, *, heard_from: str, spread: Spread
    ) -> Outcome:
        return self._owner.merge_batch(
            entries, now, heard_from=heard_from, spread=spread, pool=self._pool
        )

    def showed(self, peer: str, key: str, version: bytes) -> None:
        self.acks.showed(Peer(self._pool, peer), key, version)

    def suggests(self, peer: str, key: str) -> None:
        self.acks.prompt(Peer(self._pool, peer), key)

    def equals(self, peer: str) -> None:
        self.acks.equals(Peer(self._pool, peer), self.store.record)

    def confirmed(self, number: int, peer: str) -> None:
        self.acks.confirmed(number, Peer(self._pool, peer))

    def measured(self, told: Measured) -> None:
        self._owner.surveys.answered(told, Peer(self._pool, told.sender))
