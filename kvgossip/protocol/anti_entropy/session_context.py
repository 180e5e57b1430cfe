"""SessionContext: the part of a causal context that each side of an exchange may learn of the
other, as the initiator judges it (causal_context.py).

Laws
- A context is as of the session's beginning: mine when it was opened, the peer's at its first
  answer. Entries that either merged since came from elsewhere, and the other may not have them.
- I learn the peer's context when all that the peer held at the beginning was offered to me and
  accepted. It was not, when an entry that I asked for had changed meanwhile, was refused, or was
  left out as too long for me. Then I learn nothing of it this time. The same holds the other way
  round; an entry of mine that the peer's own has superseded meanwhile is none that it lacks.
- All answers come from one life of the peer: Conclude names it. A peer that restarted meanwhile may
  have lost what this session gave it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.keeper import Kept
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.tombstones.context_difference import (
    ContextDifference,
    decode,
    encode,
    lacking,
    summary,
)
from kvgossip.protocol.tombstones.fact import Fact
from kvgossip.protocol.wire.message import Notice


class SessionContext:
    """`facts`: this replica's context when the session begins; without them contexts are left
    alone."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        #: the summary of my context that the first message of the session carries
        self.summary = summary(list(facts)) if facts else b""
        #: the life of the peer; 0 of an older release, which knows of no contexts
        self.peer_site = 0
        #: fingerprints of entries of the peer that I have collected
        self.collected: list[int] = []
        #: parts of typed ones, as Merged has them
        self.parts: list[bytes] = []
        #: perhaps for an expiry of up to then, milliseconds since 1970
        self.expired_ms = 0
        #: fingerprints of entries of mine that the peer's own have superseded
        self.superseded: OrderedSet[int] = OrderedSet()
        #: how many entries of either side are too long for the other one
        self.left_out = 0
        #: the peer has taken over the facts of Conclude
        self.concluded = False
        self._facts = list(facts)
        self._difference = ContextDifference(0, [])
        #: all that the peer held at the beginning was offered to me and accepted, so far
        self._whole = True
        #: the same the other way round
        self._peer_whole = True

    @property
    def learned(self) -> list[Fact]:
        """At the end: the facts of the peer's context that are now true of this replica, too."""
        return self._difference.facts if self._whole and self.concluded else []

    @property
    def of_peer(self) -> list[Fact]:
        """The facts of the peer's context that its first answer brought."""
        return self._difference.facts

    def met(self, site: int, context: bytes) -> None:
        """The first answer of the peer."""
        self.peer_site = site
        try:
            self._difference = decode(context)
        except RemoteError:
            self._whole = False  # the data is repaired all the same

    def kept(self, kept: Kept) -> None:
        """Entries of the peer were merged."""
        self._whole &= not kept.refused
        self.collected += kept.collected
        self.parts += kept.parts
        self.expired_ms = max(self.expired_ms, kept.expired_ms)

    def came(self, wanted: Iterable[int], came: Collection[int]) -> None:
        """Of these fingerprints that were asked for these have come: a record that has changed
        meanwhile has not."""
        self._whole &= all(
            fingerprint in came or fingerprint in self.superseded for fingerprint in wanted
        )

    def offered(self, wanted: Iterable[int], here: Collection[int]) -> None:
        """Of these fingerprints that the peer lacks these are still here."""
        self._peer_whole &= all(
            fingerprint in here or fingerprint in self.superseded for fingerprint in wanted
        )

    def refused(self, count: int) -> None:
        """The peer has refused so many of my entries."""
        self._peer_whole &= not count

    def left_out_here(self, notices: Sequence[Notice]) -> None:
        """The peer holds these, which are too long for me."""
        self.left_out += len(notices)
        self._whole &= not notices

    def left_out_there(self, notices: Sequence[Notice]) -> None:
        """I hold these, which are too long for the peer."""
        self.left_out += len(notices)
        self._peer_whole &= not notices

    def conclusion(self) -> bytes | None:
        """The facts that the peer lacks at the end, encoded; None where nothing is to be
        concluded."""
        if not self.peer_site:
            return None
        facts = lacking(self._facts, self.summary, self._difference) if self._peer_whole else []
        collected = self.collected or self.parts
        if not (facts or collected or (self._difference.facts and self._whole)):
            return None
        return encode(ContextDifference(0, facts)) if facts else b""
