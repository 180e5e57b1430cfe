"""RumorResponder: the passive side of rumor mongering in one pool (see model/gossip.py).

    receive   on_gossip: a packet of rumors
    keep      merge each rumor; news spreads further
    answer    one bit a rumor: was it known here?

Where the policy limits connections, packets beyond the limit are refused, and their senders hunt
elsewhere. Minimization compares the counters of both sides, which do not travel: it is for the
simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.merging import MergePort, Origin, Outcome, Spread
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.entry import Version
from kvgossip.protocol.model.member import life_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.rumors.batches import is_batch_key
from kvgossip.protocol.rumors.fetching import Fetching
from kvgossip.protocol.rumors.hot_list import bitmap
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.message import Bundle, Busy, Feedback, Gossip, Notice, Rumor

# named for every packet (see merging.py)
_NEWS, _COLLECTED = Outcome.NEWS, Outcome.COLLECTED


@lru_cache(maxsize=1024)
def _origin_of(kind: PoolKind, sender: str, shows: bool, whole: bool, direct: bool) -> Origin:
    """That of the rumors of a packet, and of the next ones that come so."""
    spread = Spread.OTHER_POOLS if whole else Spread.NEXT_ROUND if direct else Spread.NOW
    return Origin(Peer(kind, sender), spread, shows)


class Kept(NamedTuple):
    """The outcome of a packet of rumors: of each whether it was known, and whether it was
    collected here; and the notices whose bodies this node lacks."""

    known: list[bool]
    collected: list[bool]
    lacking: list[Notice]


class RumorResponder:
    """`connection_limit`: how many packets a gossip interval are accepted, 0: any number."""

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        *,
        tombstones: Tombstones,
        merging: MergePort,
        fetching: Fetching,
        membership: Membership,
        outbox: SendPort,
        connection_limit: int,
    ) -> None:
        self._config, self._kind, self._connection_limit = config, kind, connection_limit
        self._tombstones, self._merging, self._fetching = tombstones, merging, fetching
        self._membership, self._outbox = membership, outbox
        #: packets of this gossip interval, and when it ends, monotonic seconds
        self._accepted = 0
        self._window_ends_s = 0.0

    def on_gossip(
        self,
        gossip: Gossip,
        rumors: Sequence[Rumor | Notice | Bundle],
        whole: bool,
        arrival: Arrival,
    ) -> None:
        """A packet of rumors. Unless it was `whole`, places cannot be counted, so it is merged but
        not answered."""
        now = arrival.now
        if self._is_over_limit(now):
            busy = Busy(sequence=gossip.sequence)
            self._outbox.send(busy, arrival.source, reliable=arrival.reliable)
            return
        # to whoever is not the sender it may be sent back; but only the sender shows what it holds
        table = self._membership.table
        shows = table.speaks(gossip.sender, arrival)
        sender = gossip.sender if shows or table.may_speak(gossip.sender, arrival) else ""
        origin = _origin_of(self._kind, sender, shows, gossip.whole, gossip.direct)
        kept = self.keep(rumors, origin, now)
        if whole and rumors:
            answer = self.answer(gossip, kept, now)
            self._outbox.send(answer, arrival.source, reliable=arrival.reliable)
        if kept.lacking:
            holder = self._membership.members.get(gossip.sender)
            if holder is not None:
                self._fetching.fetch_all(kept.lacking, holder.address, now)
            elif table.may_be_dialled(arrival):
                self._fetching.fetch_all(kept.lacking, arrival.source, now)

    def keep(self, rumors: Sequence[Rumor | Notice | Bundle], origin: Origin, now: Now) -> Kept:
        known: list[bool] = []
        collected: list[bool] = []
        lacking: list[Notice] = []
        merge = self._merging.merge
        for rumor in rumors:
            if isinstance(rumor, Rumor):
                outcome = merge(rumor.key, rumor.record, now, origin)
                known.append(outcome is not _NEWS)
                collected.append(outcome is _COLLECTED)
            elif isinstance(rumor, Bundle):
                outcome = self._merging.merge_batch(rumor.entries, now, origin)
                known.append(outcome is not _NEWS)
                collected.append(False)
            else:
                collected.append(not is_batch_key(rumor.key) and self._has_collected(rumor))
                known.append(collected[-1] or self._fetching.has(rumor))
                if not known[-1]:
                    lacking.append(rumor)
        return Kept(known, collected, lacking)

    def answer(self, gossip: Gossip, kept: Kept, now: Now) -> Feedback:
        has_collected = any(kept.collected)
        return Feedback(
            sequence=gossip.sequence,
            known=bitmap(kept.known),
            collected=bitmap(kept.collected) if has_collected else b"",
            life=life_of(self._membership.me.site),
            expired_ms=self._tombstones.expired_ms(now) if has_collected else 0,
        )

    def _is_over_limit(self, now: Now) -> bool:
        """True if this packet is one too many of this gossip interval, where packets are
        limited."""
        if now.monotonic_s >= self._window_ends_s:
            self._accepted = 0
            self._window_ends_s = now.monotonic_s + self._config.gossip_interval_s
        self._accepted += 1
        return 0 < self._connection_limit < self._accepted

    def _has_collected(self, notice: Notice) -> bool:
        version = Version(notice.timestamp, notice.site)
        return self._tombstones.has_collected(notice.key, version)
