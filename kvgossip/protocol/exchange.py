"""One push-pull anti-entropy session, as its initiator sees it: both sides end with the union, at a cost that follows the differences.

    few differences    Sketch --> Decoded, with what I lack              one round trip, one more to push what the peer wants
                       Sketch --> Symbols; Want --> Entries              when the first symbols are too few
    many               Compare --> Differ, level by level; then Leaves: my entries' fingerprints --> Entries: what I lack
    an empty store     Leaves without fingerprints, range by range of the buckets in which the peer has anything
    in any case        Push: what the peer wants --> Merged

The initiator holds all state of the session, the answering side none (answering.py), so "complete" has one judge.

Laws
- A session is complete when nothing that it asked is unanswered and nothing is left to ask. A cut session loses nothing: what was
  merged stays merged, and the next one finds the rest.
- Work is done in portions of some milliseconds: a call returns at most BURST messages, each short enough to be made and answered
  quickly; `eager` says that there is more to send. So however much differs, the event loop is never held for long.
- Fingerprints that a peer names are only ever looked up; a lie costs the liar's session, nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from kvgossip.config import Address
from kvgossip.errors import RemoteError
from kvgossip.protocol.answering import ENTRIES_MAX, batches, chunks, pack, parities, unpack
from kvgossip.protocol.digest import FAN_OUT
from kvgossip.protocol.member import Standing
from kvgossip.protocol.message import Compare, Decoded, Differ, Entries, Leaves, Merged, Pair, Push, Sketch, Symbols, Want
from kvgossip.protocol.store import Store

Question = Sketch | Compare | Leaves | Want | Push
Asked = TypeVar("Asked", bound=Question)

BURST = 1
WINDOW = 64
PULL_WINDOW = 4
PUSHED_BYTES_MAX = 4 * 2**20
FIRST_SYMBOLS = 16
FIRST_LEVEL = 2
DEEP_LEVEL = 3
PARENTS_MAX = 512
FINGERPRINTS_MIN, FINGERPRINTS_MAX = 256, 2048
PULL_BUCKETS = 16
SHOWN = 3


class Merge(NamedTuple):
    """What became of the entries of an answer: how many were news, and the fingerprints of those that were refused."""

    news: int
    refused: list[int]


class Exchange:
    """One session with `peer`. Each method that takes an answer returns the next messages to send.

    `brought` counts the entries that either side gained; `differing` is the first (level, bucket) that did; `refused` holds some of
    the entries that were refused: what an operator needs to see when exchanges bring nothing.
    """

    def __init__(self, number: int, peer: str, address: Address, store: Store, bytes_max: int) -> None:
        self.number, self.peer, self.address = number, peer, address
        self.peer_standing = Standing.WAITING
        self.progress_s = 0.0
        self.brought = 0
        self.differing: tuple[int, int] | None = None
        self.refused: list[Pair] = []
        self._store, self._bytes_max = store, bytes_max
        self._levels = store.digest.levels
        self._had_entries = len(store) > 0
        self._members = 0
        self._requests = 0
        self._work: deque[Iterator[Question | None]] = deque()  # None: a portion of work is done, and there is more
        self._unanswered: dict[int, Question] = {}
        self._pushed_bytes = 0
        self._window = WINDOW
        self._pull_buckets = PULL_BUCKETS
        self._leaves_max = FINGERPRINTS_MAX
        self._refused: dict[int, dict[int, None]] = {}

    @property
    def eager(self) -> bool:
        """Whether there is more to send at once."""
        return bool(self._work) and self._has_room

    @property
    def _has_room(self) -> bool:
        return len(self._unanswered) < self._window and self._pushed_bytes < PUSHED_BYTES_MAX

    @property
    def complete(self) -> bool:
        return not self._unanswered and not self._work

    def open(self, differs: bool, members: int, sender: str = "") -> list[Question]:
        """The first message. `differs`: the roots are known to differ. `members`: the digest of this node's member table."""
        self._members, self._sender = members, sender
        if differs and self._store.sketch.ready:
            self._work.append(self._sketch())
        elif differs and self._levels >= FIRST_LEVEL:
            self._work.append(self._compare(FIRST_LEVEL, range(FAN_OUT ** (FIRST_LEVEL - 1))))
        else:
            self._work.append(
                iter([Compare(self.number, self._next(), self._levels, 0, b"", pack("Q", [self._store.digest.root]), members, sender)])
            )
        return self.send()

    def send(self) -> list[Question]:
        """The next messages, a few at a time."""
        told: list[Question] = []
        while self._work and len(told) < BURST and self._has_room:
            try:
                question = next(self._work[0])
            except StopIteration:
                self._work.popleft()
                continue
            if question is None:
                break
            self._unanswered[question.request] = question
            self._pushed_bytes += _pushed_bytes(question)
            told.append(question)
        return told

    # -- answers -----------------------------------------------------------------------------------------------------

    def decoded(self, answer: Decoded, merged: Merge) -> list[Question]:
        """To be called after the answer's entries were merged."""
        self._gained(answer.entries, merged)
        self._answered(answer.request, Sketch)
        self.peer_standing = answer.standing
        offered, wanted = unpack("Q", answer.offered), unpack("Q", answer.wanted)
        self._differ_at([*offered, *wanted, *(self._store.digest.fingerprint(*pair) for pair in answer.entries[:1])])
        self._work.append(self._want(offered))
        self._work.append(self._push(wanted))
        return self.send()

    def symbols(self, answer: Symbols) -> list[Question]:
        self._answered(answer.request, Sketch)
        self.peer_standing = answer.standing
        self._work.append(self._decode(answer))
        return self.send()

    def differ(self, answer: Differ) -> list[Question]:
        asked = self._answered(answer.request, Compare)
        self.peer_standing = answer.standing
        differing = dict.fromkeys(unpack("I", answer.differing))
        compared = dict.fromkeys(unpack("I", asked.parents)) if asked.level else {0: None}
        if any(bucket // FAN_OUT not in compared for bucket in differing):
            raise RemoteError("bad_message", "a difference in a bucket that does not exist, or was not compared")
        deepest = min(self._levels, answer.levels)
        if differing and asked.level >= deepest:
            shift = 4 * (asked.level - deepest)
            buckets = list(dict.fromkeys(bucket >> shift for bucket in differing))
            self._work.append(self._leaves(deepest, buckets) if self._had_entries else self._pull(deepest, buckets))
        elif differing and asked.level == 0:
            self._work.append(self._sketch() if self._store.sketch.ready else self._compare(1, [0]))
        elif differing:
            self._work.append(self._compare(asked.level + 1, differing))
        return self.send()

    def entries(self, answer: Entries, merged: Merge) -> list[Question]:
        """To be called after the answer's entries were merged, with what became of them.

        What the peer wants goes before what is asked again, so that no old version is offered twice; and what was refused counts as
        present in this session, so that it is not offered again and all that lies behind it comes through.
        """
        self._gained(answer.entries, merged)
        asked = self._unanswered.pop(answer.request, None)
        if not isinstance(asked, (Leaves, Want)):
            raise RemoteError("unasked_answer", "an answer to something that was not asked")
        rest = unpack("I", asked.buckets) if isinstance(asked, Leaves) else unpack("Q", asked.fingerprints)
        total, rest = len(rest), rest[answer.answered :]
        refused = self._refuse(asked.level, merged.refused) if isinstance(asked, Leaves) else 0
        if rest and not (answer.answered or merged.news or refused):
            raise RemoteError("no_progress", "an answer that was cut short and brought nothing")
        self._fit(asked, answer.answered, total)
        if rest:
            self._work.appendleft(self._leaves(asked.level, rest) if isinstance(asked, Leaves) else self._want(rest))
        if answer.wanted:
            self._work.appendleft(self._push(unpack("Q", answer.wanted)))
        return self.send()

    def merged(self, answer: Merged) -> list[Question]:
        self.brought += answer.news
        self._pushed_bytes -= _pushed_bytes(self._answered(answer.request, Push))
        return self.send()

    def _refuse(self, level: int, fingerprints: Iterable[int]) -> int:
        """Remember what was refused; how much of it was not refused before."""
        before = sum(map(len, self._refused.values()))
        for fingerprint in fingerprints:
            self._refused.setdefault(self._store.digest.bucket_of(level, fingerprint), {})[fingerprint] = None
        return sum(map(len, self._refused.values())) - before

    def _gained(self, entries: Sequence[Pair], merged: Merge) -> None:
        self.brought += merged.news
        if merged.refused and not self.refused:
            self.refused = list(entries[:SHOWN])

    def _differ_at(self, fingerprints: Sequence[int]) -> None:
        if fingerprints and self.differing is None:
            self.differing = (self._levels, self._store.digest.bucket_of(self._levels, fingerprints[0]))

    def _answered(self, request: int, kind: type[Asked]) -> Asked:
        asked = self._unanswered.pop(request, None)
        if not isinstance(asked, kind):
            raise RemoteError("unasked_answer", "an answer to something that was not asked")
        return asked

    # -- questions, made when it is their turn -------------------------------------------------------------------------

    def _next(self) -> int:
        self._requests += 1
        return self._requests

    def _sketch(self) -> Iterator[Question]:
        store = self._store
        symbols = store.sketch.prefix(FIRST_SYMBOLS)
        yield Sketch(self.number, self._next(), self._levels, parities(store.digest), symbols, self._members, self._sender)

    def _compare(self, level: int, parents: Iterable[int]) -> Iterator[Question]:
        sums = self._store.digest.sums(level)
        for chunk in chunks(parents, PARENTS_MAX):
            fingerprints = b"".join(pack("Q", sums[parent * FAN_OUT : (parent + 1) * FAN_OUT]) for parent in chunk)
            yield Compare(self.number, self._next(), self._levels, level, pack("I", chunk), fingerprints, self._members, self._sender)

    def _leaves(self, level: int, buckets: Sequence[int]) -> Iterator[Question]:
        """Ask with the fingerprints that I have in these buckets."""
        self.differing = self.differing or (level, buckets[0])
        chunk: list[int] = []
        counts: list[int] = []
        listed: list[int] = []
        for bucket in buckets:
            found = self._store.fingerprints_in(level, bucket)
            found += self._refused.get(bucket, ())
            if chunk and len(listed) + len(found) + len(chunk) >= self._leaves_max:
                yield Leaves(self.number, self._next(), level, pack("I", chunk), pack("I", counts), pack("Q", listed))
                chunk, counts, listed = [], [], []
            chunk.append(bucket)
            counts.append(len(found))
            listed += found
        if chunk:
            yield Leaves(self.number, self._next(), level, pack("I", chunk), pack("I", counts), pack("Q", listed))

    def _pull(self, level: int, buckets: Sequence[int]) -> Iterator[Question]:
        """I have nothing: take everything, range by range, in pieces that fit into one answer."""
        self.differing = self.differing or (level, buckets[0])
        self._window = PULL_WINDOW
        first = 0
        while first < len(buckets):
            wanted = buckets[first : first + self._pull_buckets]
            first += len(wanted)
            yield Leaves(self.number, self._next(), level, pack("I", wanted), pack("I", [0] * len(wanted)), b"")

    def _fit(self, asked: Leaves | Want, answered: int, total: int) -> None:
        """Questions follow what fits into an answer: as much as was answered, or twice as many buckets where all of them were.

        Otherwise each fingerprint of a range in which everything differs would be made and sent many times.
        """
        if self._window == PULL_WINDOW:
            self._pull_buckets = min(max(1, answered), FINGERPRINTS_MAX) if answered < total else min(2 * total, FINGERPRINTS_MAX)
        elif isinstance(asked, Leaves) and 0 < answered < total:
            fingerprints = len(asked.fingerprints) // 8 * answered // total
            self._leaves_max = min(self._leaves_max, max(fingerprints, FINGERPRINTS_MIN))

    def _decode(self, answer: Symbols) -> Iterator[Question | None]:
        """Portion by portion; then ask for what the symbols told, or descend the tree where they were too few."""
        found = (yield from self._store.sketch.peel(answer.symbols)) if self._store.sketch.ready else None
        if found is not None:
            self._differ_at(found)
            yield from self._sort_out(found)
        else:
            level = min(DEEP_LEVEL, self._levels, answer.levels)
            yield from self._compare(level, range(FAN_OUT ** (level - 1)))

    def _sort_out(self, fingerprints: Iterable[int]) -> Iterator[Question]:
        """Ask for those that are not here, push the others."""
        for chunk in chunks(fingerprints, ENTRIES_MAX):
            here = self._store.find(chunk)
            yield from self._want(fingerprint for fingerprint in chunk if fingerprint not in here)
            yield from self._push(here)

    def _want(self, fingerprints: Iterable[int]) -> Iterator[Question]:
        # as many as fit into one answer: what has to be asked for again costs a round trip
        for chunk in chunks(fingerprints, ENTRIES_MAX):
            yield Want(self.number, self._next(), pack("Q", chunk))

    def _push(self, fingerprints: Iterable[int]) -> Iterator[Question]:
        for chunk in chunks(fingerprints, ENTRIES_MAX):
            for batch in batches(self._pairs(chunk), self._bytes_max):
                yield Push(self.number, self._next(), batch)

    def _pairs(self, fingerprints: Iterable[int]) -> Iterator[Pair]:
        """The records of these fingerprints, but for those that have changed meanwhile: they are rumors of their own."""
        for key in self._store.find(fingerprints).values():
            yield key, self._store[key]


def _pushed_bytes(question: Question) -> int:
    return sum(len(record) for _, record in question.entries) if isinstance(question, Push) else 0
