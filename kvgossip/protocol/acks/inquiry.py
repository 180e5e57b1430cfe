"""VersionQueries: version queries in one pool: do you hold this version of a key, or a newer one?

    A --Enquire--> B --Confirm--> A    at once, or as soon as B does

A member that is asked and lacks the version fetches it from the asker, like a body that was
noticed; then it answers. The queries that wait for an answer here are bounded in number and time,
and lost with the process: the asker asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kvgossip.config import Address
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.entry import Version
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.fact import encoded
from kvgossip.protocol.typed.body import holds
from kvgossip.protocol.wire.message import Confirm, Enquire, Notice
from kvgossip.protocol.wire.unit import encode_briefly

OPEN_MAX = 1024
OPEN_S = 30.0


class OpenQuery(NamedTuple):
    """A query that cannot be confirmed yet. `reliable`: it came over a link, and so goes the
    answer."""

    version: Version
    reliable: bool
    end_s: float


class VersionQueries:
    """Those that wait for an answer of this node. `fetch(notice, source, now)`
    gets a body."""

    def __init__(
        self,
        kind: PoolKind,
        *,
        store: Store,
        acks: AckTracker,
        membership: Membership,
        fetch: Callable[[Notice, Address, Now], None],
        outbox: SendPort,
    ) -> None:
        self._kind, self._store, self._acks, self._membership = kind, store, acks, membership
        self._fetch, self._outbox = fetch, outbox
        #: those that wait, by key, then by the peer that asked and its number
        self.open: dict[str, dict[tuple[Address, int], OpenQuery]] = {}
        #: how many wait
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def on_enquire(self, query: Enquire, arrival: Arrival) -> None:
        source, now, reliable, _ = arrival
        record, version = self._store.record(query.key), Version(query.timestamp, query.site)
        if record is not None and holds(record, encoded(version)):
            self._confirm(query.number, source, reliable)
            return
        is_of_member = reliable or self._membership.table.proofs.has(source)
        # the answer to a stranger comes later, but may be no longer than it might be now
        answer = encode_briefly(self._answer(query.number))
        if is_of_member or len(answer) <= self._outbox.room_for(source):
            open_query = OpenQuery(version, reliable, now.monotonic_s + OPEN_S)
            self._keep(query.key, (source, query.number), open_query)
        if self._membership.table.may_be_dialled(arrival):
            notice = Notice(
                key=query.key, timestamp=query.timestamp, site=query.site, size=query.size
            )
            self._fetch(notice, source, now)

    def _keep(self, key: str, asker: tuple[Address, int], query: OpenQuery) -> None:
        same = self.open.setdefault(key, {})
        self._count += asker not in same
        same[asker] = query
        if self._count > OPEN_MAX:
            oldest = next(iter(self.open))
            self._count -= len(self.open.pop(oldest))

    def merged(self, key: str, record: bytes, now: Now) -> None:
        """This node has something newer under the key."""
        same = self.open.get(key)
        if same is None:
            return
        for asker, query in list(same.items()):
            if holds(record, encoded(query.version)) or now.monotonic_s >= query.end_s:
                del same[asker]
                self._count -= 1
                if now.monotonic_s < query.end_s:
                    self._confirm(asker[1], asker[0], query.reliable)
        if not same:
            del self.open[key]

    def _confirm(self, number: int, to: Address, reliable: bool) -> None:
        self._outbox.send(self._answer(number), to, reliable=reliable)

    def _answer(self, number: int) -> Confirm:
        me = self._membership.me
        return Confirm(number=number, sender=me.name, life=me.site)

    def on_confirm(self, confirm: Confirm, arrival: Arrival) -> None:
        """Believed of the life that is known here alone: an answer of an earlier life says nothing
        of what this one holds."""
        known = self._membership.members.get(confirm.sender)
        if known is not None and known.site == confirm.life:
            self._acks.confirmed(confirm.number, Peer(self._kind, confirm.sender))
