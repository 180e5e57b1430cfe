"""Piggyback: news that rides on messages which the application of this node sends anyway
(protocol.md section 3), as SWIM lets it ride on probes.

    the application's message:   load(room) --> bytes, within the message --> absorb(data)

Only the LAN pool has it: a frame of another datacenter is dropped as any of another pool.

Laws
- **A ride proves nothing.** Nobody knows who carries it, whether it arrives, how old it is then, or
  from whom the host got it. So it is no contact of a rumor, and K is untouched; membership news is
  not counted as sent; and nothing of it is an ack, a sign of life, a clock, or a root. The name in
  it is that of a node that may be blocked, and nothing else.
- **It is answered by nothing**: neither feedback nor a fetch. So what is too large for the room
  does not ride, and is not noticed either.
- **It acquits nobody.** News of a member may name it or accuse it, as any hearsay. Who is suspect
  or dead here is alive again when a frame of gossip says so: else two nodes that reach each other
  by their applications alone would come back and die for ever.
- It is sealed, for it goes through hands that are not the cluster's, and as a kind of its own
  (seal.py): a recorded datagram or frame of a link cannot be absorbed, nor a ride be sent to the
  port of a node. A ride is absorbed once, and what a copy would say is known already.
- Whatever is absorbed raises nothing, and is as little work as a frame (ingress/budget.py). It is
  counted: what was absorbed, what was dropped and why.

What is absorbed as news becomes a rumor at the next round: so one node with a way into a part that
is cut off is enough for that part.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvgossip.config import Config
from kvgossip.errors import LocalError, RemoteError
from kvgossip.protocol.ingress.budget import affordable
from kvgossip.protocol.merging import Origin, Spread
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.pools.shared import Shared
from kvgossip.protocol.rumors.rides import Rides
from kvgossip.protocol.wire.message import Bundle, Gossip, Message, Prune, Rumor
from kvgossip.protocol.wire.unit import TOO_MUCH, encode

BYTES_MAX = 64 * 1024
"""The longest ride: what a host offers beyond it is not used, what is longer is not absorbed."""
_HEARSAY = Origin(Peer(PoolKind.LAN, ""), Spread.NEXT_ROUND, shows=False)


class Piggyback:
    """Of this pool."""

    def __init__(self, config: Config, pool: Pool, shared: Shared) -> None:
        self._pool, self._merging, self._blocklist = pool, shared.merging, shared.blocklist
        self._membership, self._framing = pool.membership, pool.gate.framing
        self._counters, self._sealed = pool.counters, shared.keyring is not None
        self._rides = Rides(config, shared.store, pool.membership.members)

    # -- out --------------------------------------------------------------------------------------

    def load(self, room: int) -> bytes:
        """A frame of at most `room` bytes; empty where there is no news that fits, and where there
        is nobody to hear it. News is kept for rides from the first call on: what is hot then, and
        what comes. Raises LocalError without a keyring."""
        self._check_sealed()
        if self._merging.rides is None:
            self._merging.rides = self._rides
            for rumor in self._pool.mongering.rumors.hot():
                if rumor.entries:
                    self._rides.add_batch(rumor.entries)
                else:
                    self._rides.add(rumor.key, rumor.version)
        head = encode(Gossip(sequence=0, sender=self._membership.me.name))
        room = min(room, BYTES_MAX) - self._framing.overhead_bytes - len(head)
        if room <= 0 or len(self._membership.members) == 1:
            return b""
        units = list(self._membership.dissemination.riding(room))
        units += self._rides.take(room - sum(map(len, units)))
        if not units:
            return b""
        self._counters["piggybacks_made"] += 1
        return self._framing.frame([head, *units], rides=True)

    def _check_sealed(self) -> None:
        if not self._sealed:
            raise LocalError(
                "news rides on messages of an application only where it is sealed",
                "give all nodes one keyring: `kvgossip keygen`, then Config(keyring=...)",
            )

    # -- in ---------------------------------------------------------------------------------------

    def absorb(self, data: bytes, now: Now) -> None:
        """Merge what rode; nothing where it is empty. Raises LocalError without a keyring, and for
        what is not bytes."""
        self._check_sealed()
        if not isinstance(data, bytes):
            raise LocalError(
                f"what rode is bytes, not {type(data).__name__}",
                "decode the text in which it travelled first, as base64.b64decode does",
            )
        if not data:
            return
        try:
            messages = self._admitted(data)
        except RemoteError as fault:
            self._counters[f"piggybacks_dropped.{fault.reason}"] += 1
            return
        self._counters["piggybacks_absorbed"] += 1
        for message in messages:
            try:
                self._merge(message, now)
            except RemoteError as fault:
                self._counters[f"units_dropped.{fault.reason}"] += 1
        self._pool.take_changes(now)

    def _admitted(self, data: bytes) -> Sequence[Message | Member]:
        """The messages of a frame that may be absorbed. Raises RemoteError."""
        if len(data) > BYTES_MAX:
            raise RemoteError("too_long")
        if self._membership.table.leaving:
            raise RemoteError("leaving")
        opened = self._framing.open(data, reliable=False, rides=True)
        taken = affordable(opened.messages)
        if not taken or not isinstance(taken[0], Gossip):
            raise RemoteError("nameless")
        name = taken[0].sender
        author = self._membership.members.get(name)
        if self._blocklist.covers_name(name) or (author and self._blocklist.covers(author)):
            raise RemoteError("blocked")
        faults = [*opened.faults, *[TOO_MUCH] * (len(opened.messages) - len(taken))]
        for reason in faults:
            self._counters[f"units_dropped.{reason}"] += 1
        return taken[1:]

    def _merge(self, message: Message | Member, now: Now) -> None:
        if isinstance(message, Rumor):
            self._merging.merge(message.key, message.record, now, _HEARSAY)
        elif isinstance(message, Bundle):
            self._merging.merge_batch(message.entries, now, _HEARSAY)
        elif isinstance(message, Prune):
            self._membership.prune(message, now, by_others=True)
        elif isinstance(message, Member):
            known = self._membership.members.get(message.name)
            if known is not None and message.state < known.state:
                raise RemoteError("acquittal")
            self._membership.merge(message, now, by_others=True)
        else:
            raise RemoteError("not_a_ride")
