"""AskedExchange: the little that the answering side keeps of an exchange: who asks, over which
link, and what was offered there. The word of its end, Conclude, counts for that alone.

Of a range of buckets the range is kept, not its entries: a first copy of everything offers
millions. And where single entries become many, their buckets take their place: whoever asks for so
many may have asked for these as well.
"""

from __future__ import annotations

from kvgossip.config import Address
from kvgossip.protocol.anti_entropy.questions import Question
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.wire.batching import unpack
from kvgossip.protocol.wire.exchange_messages import Decoded, Entries, Leaves, Want
from kvgossip.protocol.wire.message import Message

OFFERED_MAX = 16_384


class AskedExchange:
    """With the member `peer`, over the link whose other end is `source`. `speaker`: the same name,
    where the link comes from that member's host; else empty."""

    __slots__ = ("_buckets", "_fingerprints", "peer", "source", "speaker")

    def __init__(self, peer: str, source: Address, speaker: str) -> None:
        self.peer, self.source, self.speaker = peer, source, speaker
        self._fingerprints: OrderedSet[int] = OrderedSet()
        #: by level
        self._buckets: dict[int, OrderedSet[int]] = {}

    def answered(self, question: Question, answer: Message, digest: DigestTree) -> None:
        """This was answered there."""
        if isinstance(answer, Decoded) or (
            isinstance(question, Want) and isinstance(answer, Entries)
        ):
            self._fingerprints |= dict.fromkeys(digest.fingerprints(answer.entries))
            if len(self._fingerprints) > OFFERED_MAX:
                offered = self._buckets.setdefault(digest.levels, OrderedSet())
                offered |= dict.fromkeys(
                    digest.bucket_of(digest.levels, each) for each in self._fingerprints
                )
                self._fingerprints.clear()
        elif isinstance(question, Leaves) and isinstance(answer, Entries):
            asked = unpack("I", question.buckets)
            offered = self._buckets.setdefault(question.level, OrderedSet())
            offered |= dict.fromkeys(asked[: answer.answered + 1])

    def offered(self, fingerprints: list[int], digest: DigestTree) -> list[int]:
        """Those of the fingerprints that were offered."""
        return [
            fingerprint
            for fingerprint in fingerprints
            if fingerprint in self._fingerprints
            or any(
                digest.bucket_of(level, fingerprint) in buckets
                for level, buckets in self._buckets.items()
            )
        ]
