"""What Merging needs of the other mechanisms: those that news goes to, and those that hear of who
holds what."""

from __future__ import annotations

from collections.abc import Sized
from typing import Protocol

from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind

Pair = tuple[str, bytes]
"""A key with its record."""


class RumorPort(Protocol):
    """The rumors of one pool. `heard_from`: the name there of the member that sent it, "" for one
    of no name there, None for a client of this node."""

    def heat(self, key: str, record: bytes, heard_from: str | None, *, at_once: bool) -> None: ...

    def heat_batch(
        self, entries: tuple[Pair, ...], heard_from: str | None, *, at_once: bool
    ) -> None: ...

    @property
    def hot(self) -> int:
        """How many rumors are hot."""


class RidePort(Protocol):
    """What is news rides on messages of the application (rumors/rides.py). `version`: encoded."""

    def add(self, key: str, version: bytes) -> None: ...

    def add_batch(self, entries: tuple[Pair, ...]) -> None: ...


class QueryPort(Protocol):
    """The version queries of one pool."""

    @property
    def open(self) -> Sized:
        """Those that wait for an answer."""

    def merged(self, key: str, record: bytes, now: Now) -> None: ...


class NewsPool(Protocol):
    """A pool, as far as news is spread there."""

    @property
    def kind(self) -> PoolKind: ...

    @property
    def mongering(self) -> RumorPort: ...

    @property
    def version_queries(self) -> QueryPort: ...

    def knows_as_neighbour(self, name: str) -> bool:
        """True if one and the same node has this name in both pools of this node."""


def speaker_in(pool: NewsPool, peer: Peer | None) -> str | None:
    """A peer that sent it in another pool need not hear it in this one; but names are those of one
    pool, and another node may have this one here."""
    if peer is None:
        return None
    return peer.name if pool.knows_as_neighbour(peer.name) else ""


class AckPort(Protocol):
    """The members that have shown that they hold a version."""

    @property
    def waits(self) -> Sized:
        """Empty where nobody waits for that."""

    def showed(self, peer: Peer, key: str, version: bytes) -> None: ...

    def showed_record(self, peer: Peer, key: str, record: bytes) -> None: ...


class SettlingPort(Protocol):
    """True if the replica has caught up once."""

    @property
    def settled(self) -> bool: ...

    def exchanged(self, peer: Peer, sync_state: SyncState, now: Now) -> None: ...
