"""Fetching: bodies too large for a datagram, which are noticed first and then fetched over a link.

    A --Notice--> B ==Fetch==> A ==Bodies|Bundle==> B

An entry too large for a datagram is never dropped (lesson 7): it travels as a notice, and a node
that lacks it asks for the body. So does a node that is asked for a version that it lacks
(acks/inquiry.py).
"""

from __future__ import annotations

from typing import NamedTuple

from kvgossip.config import Address, Config
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.merging import MergePort, Origin, Outcome, Spread
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.entry import HEAD_BYTES, Version, version_of
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.rumors.batches import Batches, is_batch_key, key_of
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.fact import encoded
from kvgossip.protocol.typed.body import holds
from kvgossip.protocol.wire.batching import batches, room_of
from kvgossip.protocol.wire.frame import entry_bytes_max, frame_bytes_max
from kvgossip.protocol.wire.message import Bodies, Bundle, Fetch, Notice

FETCH_MAX = 64
NOTICE_BYTES_MIN = 1024
REFUSED_MAX = 1024
FETCH_BYTES_MAX = 4 * 2**20


class Body(NamedTuple):
    """A body that was asked for."""

    source: Address
    size: int
    asked_s: float


class Fetching:
    """Both sides of it: asking for bodies, and answering with them."""

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        *,
        store: Store,
        batches: Batches,
        merging: MergePort,
        membership: Membership,
        outbox: SendPort,
    ) -> None:
        self._config, self._kind = config, kind
        self._store, self._batches, self._merging = store, batches, merging
        self._membership, self._outbox = membership, outbox
        #: by key, those on their way
        self._bodies: dict[str, Body] = {}
        self._bytes = 0
        self._entry_bytes_max = entry_bytes_max(frame_bytes_max(config))
        #: by key, the heads of records that were refused when they came
        self._refused: Newest[str, bytes] = Newest(REFUSED_MAX)

    # -- asking -----------------------------------------------------------------------------------

    def has(self, notice: Notice) -> bool:
        """True if the body is not worth fetching: it is here, was refused when it came, or is too
        long for this node."""
        if notice.size > self._entry_bytes_max:
            return True  # exchanges leave it out as well, and say so (left_out.py)
        if is_batch_key(notice.key):
            return notice.key in self._batches
        record = self._store.record(notice.key)
        version, refused = (
            Version(notice.timestamp, notice.site),
            self._refused.get(notice.key),
        )
        return (record is not None and holds(record, encoded(version))) or (
            refused is not None and version_of(refused) == version
        )

    def fetch(self, notice: Notice, source: Address, now: Now) -> None:
        """Ask for this body, unless it is here or on its way."""
        if not self.has(notice):
            self.fetch_all([notice], source, now)

    def fetch_all(self, notices: list[Notice], source: Address, now: Now) -> None:
        """Ask for bodies that are not here, but for those that are on their way, and only so much
        at a time.

        A body that is not fetched now is noticed again: its rumor stays hot, since we answered that
        it is news.
        """
        for key in [
            key
            for key, body in self._bodies.items()
            if now.monotonic_s - body.asked_s > self._config.exchange_timeout_s
        ]:
            self._came(key)
        keys: list[str] = []
        for notice in notices[:FETCH_MAX]:
            size = min(max(notice.size, NOTICE_BYTES_MIN), self._config.value_bytes_max)
            room = not self._bodies or self._bytes + size <= FETCH_BYTES_MAX
            if room and notice.key not in self._bodies:
                self._bodies[notice.key] = Body(source, size, now.monotonic_s)
                self._bytes += size
                keys.append(notice.key)
        if keys:
            self._outbox.send(Fetch(keys=tuple(keys)), source, reliable=True)

    def _came(self, key: str) -> None:
        """It came, or is not waited for any more."""
        body = self._bodies.pop(key, None)
        if body is not None:
            self._bytes -= body.size

    def on_bodies(self, bodies: Bodies, arrival: Arrival) -> None:
        origin = self._origin(arrival.source)
        for key, record in bodies.entries:
            self._came(key)
            if self._merging.merge(key, record, arrival.now, origin) is Outcome.REFUSED:
                self._refused[key] = record[:HEAD_BYTES]

    def on_bundle(self, bundle: Bundle, arrival: Arrival) -> None:
        """A batch that was fetched; one that comes unasked is welcome, too."""
        self._came(key_of(bundle.entries))
        # also where nothing of it is news, or it would be noticed and fetched again
        self._batches.keep(bundle.entries)
        self._merging.merge_batch(bundle.entries, arrival.now, self._origin(arrival.source))

    def _origin(self, source: Address) -> Origin:
        """By the name that is known there, perhaps an old one: what comes does not name its sender,
        so it does not show who holds it."""
        name = self._membership.table.name_at(source)
        return Origin(Peer(self._kind, name), Spread.NOW, shows=False)

    def unreachable(self, address: Address) -> None:
        """Bodies that were asked for there may be asked for elsewhere."""
        for key in [key for key, body in self._bodies.items() if body.source == address]:
            self._came(key)

    # -- answering --------------------------------------------------------------------------------

    def on_fetch(self, fetch: Fetch, arrival: Arrival) -> None:
        source = arrival.source
        name = self._membership.table.name_at(source)
        room = room_of(self._config, self._membership.members.get(name))
        sent = 0
        for key in dict.fromkeys(fetch.keys):
            entries = self._batches.get(key)
            if entries is None or not room.takes_together(entries):
                continue
            size = sum(len(record) for _, record in entries)
            if sent and sent + size > FETCH_BYTES_MAX:
                return  # nobody honest asks for so much at a time
            sent += size
            self._outbox.send(Bundle(entries=entries), source, reliable=True)
        pairs = [
            (key, record)
            for key in dict.fromkeys(fetch.keys)
            if (record := self._store.record(key)) is not None
        ]
        for batch in batches(pairs, room):
            sent += sum(len(record) for _, record in batch.taken)
            if sent > FETCH_BYTES_MAX and len(batch.taken) < len(pairs):
                return
            if batch.taken:
                self._outbox.send(Bodies(entries=batch.taken), source, reliable=True)
