"""Questions: those that the initiator of an exchange asks, made from its store when it is their
turn.

Each method is an iterator, so that a question depends on what is here when it leaves, and so that
no more is made than the window of the session takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kvgossip.protocol.anti_entropy.difference import parities
from kvgossip.protocol.anti_entropy.session_context import SessionContext
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.store.digest import FAN_OUT
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.batching import ENTRIES_MAX, Room, batches, chunks, pack
from kvgossip.protocol.wire.exchange_messages import Compare, Conclude, Leaves, Push, Sketch, Want
from kvgossip.protocol.wire.message import Pair

Question = Sketch | Compare | Leaves | Want | Push | Conclude

WINDOW = 64
PULL_WINDOW = 4
FIRST_SYMBOLS = 16
PARENTS_MAX = 512
FIRST_REQUEST = 1
FINGERPRINTS_MIN, FINGERPRINTS_MAX = 256, 2048
PULL_BUCKETS = 16
COLLECTED_MAX = 8192


class Questions:
    """Those of the exchange with this number. `room`: the peer's."""

    def __init__(self, number: int, store: Store, room: Room, context: SessionContext) -> None:
        #: how many may be unanswered
        self.window = WINDOW
        self._number, self._store, self._room = number, store, room
        self._context = context
        self._levels = store.digest.levels
        #: the digest of this node's member table, and its name
        self._members, self._sender = 0, ""
        #: how many were made
        self._requests = 0
        #: how many buckets one question may pull
        self._pull_buckets = PULL_BUCKETS
        #: how many fingerprints one question may list
        self._leaves_max = FINGERPRINTS_MAX
        #: by bucket, fingerprints that count as present in this session
        self._refused: dict[int, OrderedSet[int]] = {}

    def introduce(self, members: int, sender: str) -> None:
        """The first question says this of this node."""
        self._members, self._sender = members, sender

    def _next(self) -> int:
        self._requests += 1
        return self._requests

    def root(self) -> Iterator[Question]:
        """Compare the roots alone."""
        yield Compare(
            exchange=self._number,
            request=self._next(),
            levels=self._levels,
            level=0,
            parents=b"",
            fingerprints=pack("Q", [self._store.digest.root]),
            members=self._members,
            sender=self._sender,
            context=self._context.summary,
        )

    def sketch(self) -> Iterator[Question]:
        yield Sketch(
            exchange=self._number,
            request=self._next(),
            levels=self._levels,
            parities=parities(self._store.digest),
            symbols=self._store.sketch.prefix(FIRST_SYMBOLS),
            members=self._members,
            sender=self._sender,
            context=self._context.summary,
        )

    def compare(self, level: int, parents: Iterable[int]) -> Iterator[Question]:
        sums = self._store.digest.sums(level)
        for chunk in chunks(parents, PARENTS_MAX):
            fingerprints = b"".join(
                pack("Q", sums[parent * FAN_OUT : (parent + 1) * FAN_OUT]) for parent in chunk
            )
            request = self._next()
            yield Compare(
                exchange=self._number,
                request=request,
                levels=self._levels,
                level=level,
                parents=pack("I", chunk),
                fingerprints=fingerprints,
                members=self._members,
                sender=self._sender,
                context=self._context.summary if request == FIRST_REQUEST else b"",
            )

    def leaves(self, level: int, buckets: Sequence[int]) -> Iterator[Question]:
        """Ask with the fingerprints that I have in these buckets."""
        chunk: list[int] = []
        counts: list[int] = []
        listed: list[int] = []
        for bucket in buckets:
            found = self._store.fingerprints_in(level, bucket)
            found += self._refused.get(bucket, ())
            if chunk and len(listed) + len(found) + len(chunk) >= self._leaves_max:
                yield self._leaves(level, chunk, counts, listed)
                chunk, counts, listed = [], [], []
            chunk.append(bucket)
            counts.append(len(found))
            listed += found
        if chunk:
            yield self._leaves(level, chunk, counts, listed)

    def _leaves(
        self, level: int, buckets: Sequence[int], counts: Sequence[int], listed: Sequence[int]
    ) -> Leaves:
        return Leaves(
            exchange=self._number,
            request=self._next(),
            level=level,
            buckets=pack("I", buckets),
            counts=pack("I", counts),
            fingerprints=pack("Q", listed),
        )

    def pull(self, level: int, buckets: Sequence[int]) -> Iterator[Question]:
        """I have nothing: take everything, range by range, each of a size that fits into one
        answer."""
        self.window = PULL_WINDOW
        first = 0
        while first < len(buckets):
            wanted = buckets[first : first + self._pull_buckets]
            first += len(wanted)
            yield self._leaves(level, wanted, [0] * len(wanted), [])

    def sort_out(self, fingerprints: Iterable[int]) -> Iterator[Question]:
        """Ask for those that are not here, push the others."""
        for chunk in chunks(fingerprints, ENTRIES_MAX):
            here = self._store.find(chunk)
            yield from self.want(
                fingerprint
                for fingerprint in chunk
                if fingerprint not in here and fingerprint not in self._context.superseded
            )
            yield from self.push(here)

    def want(self, fingerprints: Iterable[int]) -> Iterator[Question]:
        # as many as fit into one answer: a record that has to be asked for again costs a round trip
        for chunk in chunks(fingerprints, ENTRIES_MAX):
            yield Want(exchange=self._number, request=self._next(), fingerprints=pack("Q", chunk))

    def push(self, fingerprints: Iterable[int]) -> Iterator[Question]:
        for chunk in chunks(fingerprints, ENTRIES_MAX):
            for batch in batches(self._pairs(chunk), self._room):
                self._context.left_out_there(batch.left_out)
                yield Push(
                    exchange=self._number,
                    request=self._next(),
                    entries=batch.taken,
                    left_out=batch.left_out,
                )

    def _pairs(self, fingerprints: Sequence[int]) -> Iterator[Pair]:
        """The records of these fingerprints, but for those that have changed meanwhile: they are
        rumors of their own."""
        here = self._store.find(fingerprints)
        self._context.offered(fingerprints, here)
        for key in here.values():
            record = self._store.record(key)
            if record is not None:
                yield key, record

    def conclude(self) -> Iterator[Question]:
        """Made when all else is done: only then is it known what was whole, and what was
        collected."""
        context = self._context.conclusion()
        if context is None:
            return
        collected, parts = self._context.collected, self._context.parts
        for chunk in chunks(collected, COLLECTED_MAX) if collected else [[]]:
            yield self._conclude(context, collected=pack("Q", chunk))
            context = b""
        for some in chunks(parts, COLLECTED_MAX):
            yield self._conclude(b"", parts=b"".join(some))

    def _conclude(self, context: bytes, collected: bytes = b"", parts: bytes = b"") -> Conclude:
        return Conclude(
            exchange=self._number,
            request=self._next(),
            site=self._context.peer_site,
            context=context,
            collected=collected,
            expired_ms=self._context.expired_ms,
            parts=parts,
        )

    # -- the knowledge from answers ---------------------------------------------------------------

    def refused(self, level: int, fingerprints: Iterable[int]) -> int:
        """Remember the refused entries; returns how many were not refused before."""
        before = sum(map(len, self._refused.values()))
        for fingerprint in fingerprints:
            bucket = self._store.digest.bucket_of(level, fingerprint)
            self._refused.setdefault(bucket, OrderedSet()).add(fingerprint)
        return sum(map(len, self._refused.values())) - before

    def fit(self, asked: Leaves | Want, answered: int, total: int) -> None:
        """Questions follow what fits into an answer: as much as was answered, or twice as many
        buckets where all of them were.

        Otherwise each fingerprint of a range in which everything differs would be made and sent
        many times.
        """
        if self.window == PULL_WINDOW:
            fitting = max(1, answered) if answered < total else 2 * total
            self._pull_buckets = min(fitting, FINGERPRINTS_MAX)
        elif isinstance(asked, Leaves) and 0 < answered < total:
            fingerprints = len(asked.fingerprints) // 8 * answered // total
            self._leaves_max = min(self._leaves_max, max(fingerprints, FINGERPRINTS_MIN))
