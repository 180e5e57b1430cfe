"""AskedExchange: the little that the answering side keeps of an exchange: who asks, over which
link, and what was offered there. The word of its end, Conclude, counts for that alone.

Of a range of buckets the range is kept, not its entries: a first copy of everything offers
millions. And where single entries become many, their buckets take their place: whoever asks for so
many may have asked for these as well. All of it lies in arrays: an exchange is kept long after it
has ended, since nobody says so where there was nothing to conclude, and numbers of its own, one
by one among entries that go, would keep the memory of these from going back to the system.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from kvgossip.config import Address
from kvgossip.protocol.anti_entropy.questions import Question
from kvgossip.protocol.store.digest import FAN_OUT, DigestTree
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
        self._fingerprints = array("Q")
        #: by level, a byte for each bucket
        self._buckets: dict[int, bytearray] = {}

    def answered(self, question: Question, answer: Message, digest: DigestTree) -> None:
        """This was answered there."""
        if isinstance(answer, Decoded) or (
            isinstance(question, Want) and isinstance(answer, Entries)
        ):
            self._fingerprints.extend(digest.fingerprints(answer.entries))
            if len(self._fingerprints) > OFFERED_MAX:
                levels, fingerprints = digest.levels, self._fingerprints
                self._mark(levels, (digest.bucket_of(levels, each) for each in fingerprints))
                del fingerprints[:]
        elif isinstance(question, Leaves) and isinstance(answer, Entries):
            self._mark(question.level, unpack("I", question.buckets)[: answer.answered + 1])

    def _mark(self, level: int, buckets: Iterable[int]) -> None:
        marks = self._buckets.setdefault(level, bytearray(FAN_OUT**level))
        for bucket in buckets:
            marks[bucket] = 1

    def offered(self, fingerprints: list[int], digest: DigestTree) -> list[int]:
        """Those of the fingerprints that were offered."""
        single = frozenset(self._fingerprints)
        return [
            fingerprint
            for fingerprint in fingerprints
            if fingerprint in single
            or any(
                marks[digest.bucket_of(level, fingerprint)]
                for level, marks in self._buckets.items()
            )
        ]
