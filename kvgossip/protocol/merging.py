"""What became of an entry that was offered to a replica, and the face of the replica that its
mechanisms see."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from kvgossip.config import Address
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.rumors.batches import Batches
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import KeyringOrder, KeyringReport, Measured, Pair


class Outcome(Enum):
    """COLLECTED: it was here once, and was collected (see tombstones.py)."""

    NEWS = "news"
    KNOWN = "known"
    REFUSED = "refused"
    COLLECTED = "collected"


class Spread(Enum):
    """How news is spread further: not at all; not in this pool, whose every member its author
    tells; from the next round on; or at once."""

    NOT = "not"
    ELSEWHERE = "elsewhere"
    NEXT_ROUND = "next round"
    AT_ONCE = "at once"


class Data(Protocol):
    """The one copy of the data that all pools of a replica share."""

    store: Store
    blocklist: Blocklist
    batches: Batches
    acks: AckTracker
    keyring: Keyring | None
    """None: frames are not sealed."""
    identity: Identity | None
    tombstones: Tombstones

    @property
    def news_s(self) -> float:
        """When the last merge was news, monotonic seconds."""

    @property
    def sync_state(self) -> SyncState: ...

    def merge(
        self, key: str, record: bytes, now: Now, *, heard_from: str, spread: Spread
    ) -> Outcome:
        """Offer a record that a peer sent. `spread`: how to spread it further if it is news."""

    def merge_batch(
        self, entries: tuple[Pair, ...], now: Now, *, heard_from: str, spread: Spread
    ) -> Outcome:
        """Offer a batch that a peer sent, all of it at once."""

    def showed(self, peer: str, key: str, version: bytes) -> None:
        """This peer has shown that it holds this version of the key (tracker.py)."""

    def suggests(self, peer: str, key: str) -> None:
        """Perhaps this peer holds what is waited for under this key, or will soon."""

    def equals(self, peer: str) -> None:
        """This peer has all that we have."""

    def confirmed(self, number: int, peer: str) -> None:
        """This peer has answered an enquiry of ours."""

    def measured(self, told: Measured) -> None:
        """A member has answered a survey."""

    def saw_clock(self, peer: str, wall_ms: int, asked_s: float, now: Now) -> None:
        """This peer told its wall clock in its answer to what it was asked at `asked_s`."""

    def introduced(self) -> None:
        """A join address turned out to be our own."""

    def exchanged(self, peer: str, peer_sync_state: SyncState, now: Now) -> None:
        """An exchange with this peer has completed."""

    def keyring_heard(self, told: KeyringOrder | KeyringReport, source: Address, now: Now) -> None:
        """A member orders something of this node's keyring, or reports what it did with its own."""
