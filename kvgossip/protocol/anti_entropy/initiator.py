"""One push-pull anti-entropy session, as its initiator sees it: both sides end with the union, at a
cost that follows the differences.

    few differences    Sketch --> Decoded, with what I lack              one round trip, one more to
                       push what the peer wants
                       Sketch --> Symbols; Want --> Entries              when the first symbols are
                       too few
    many               Compare --> Differ, level by level; then Leaves: my entries' fingerprints -->
                       Entries: what I lack
    an empty store     Leaves without fingerprints, range by range of the buckets in which the peer
                       has anything
    in any case        Push: what the peer wants --> Merged
                       Conclude: my context --> Concluded                   where contexts differ,
                       or something was collected

The initiator holds all state of the session, the answering side none (responder.py), so "complete"
has one judge.

Laws
- A session is complete when nothing that it asked is unanswered and nothing is left to ask. A cut
  session loses nothing: what was merged stays merged, and the next one finds the rest.
- Work is done in portions of some milliseconds: a call returns at most BURST messages, each short
  enough to be made and answered quickly; `eager` says that there is more to send. So however much
  differs, the event loop is never held for long.
- Fingerprints that a peer names are only ever looked up; a lie costs the liar's session, nothing
  else.

What each side may learn of the other's context (causal_context.py), by the same judge
- A context is as of the session's beginning: mine when it was opened, the peer's at its first
  answer. What either merged since came from elsewhere, and the other may not have it.
- `whole`: all that the peer held at the beginning was offered to me and accepted. It is not, when
  an entry that I asked for had changed meanwhile, or was refused. Then I learn nothing of the
  peer's context this time. `peer_whole`: the same the other way round; an entry of mine that the
  peer's own has superseded meanwhile is none that it lacks.
- All answers come from one life of the peer: Conclude names it. Who restarted meanwhile may have
  lost what this session gave it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from kvgossip.config import Address
from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.difference import parities
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.store.digest import FAN_OUT
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import Fact
from kvgossip.protocol.tombstones.context_difference import (
    ContextDifference,
    decode,
    encode,
    lacking,
    summary,
)
from kvgossip.protocol.wire.batching import ENTRIES_MAX, batches, chunks, pack, unpack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Concluded,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Merged,
    Push,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.message import Pair

Question = Sketch | Compare | Leaves | Want | Push | Conclude
Asked = TypeVar("Asked", bound=Question)

BURST = 1
WINDOW = 64
PULL_WINDOW = 4
PUSHED_BYTES_MAX = 4 * 2**20
FIRST_SYMBOLS = 16
FIRST_LEVEL = 2
DEEP_LEVEL = 3
PARENTS_MAX = 512
FIRST_REQUEST = 1
FINGERPRINTS_MIN, FINGERPRINTS_MAX = 256, 2048
PULL_BUCKETS = 16
COLLECTED_MAX = 8192
SHOWN = 3


class Merge(NamedTuple):
    """What became of the entries of an answer: how many were news; the fingerprints of those that
    were refused, and of those that this replica has collected; and of the own entries that were
    superseded.
    """

    news: int
    refused: list[int]
    collected: Sequence[int] = ()
    replaced: Sequence[int] = ()


class Exchange:
    """One session with `peer`. Each method that takes an answer returns the next messages to send.

    `facts`: this replica's context; without them contexts are left alone. `brought` counts the
    entries that either side gained, or let go; `differing` is the first (level, bucket) that did;
    `refused` holds some of the entries that were refused: what an operator needs to see when
    exchanges bring nothing. `renounced`: fingerprints of entries here that the peer has collected.
    """

    def __init__(
        self,
        number: int,
        peer: str,
        address: Address,
        store: Store,
        bytes_max: int,
        facts: Sequence[Fact] = (),
    ) -> None:
        self.number, self.peer, self.address = number, peer, address
        self.peer_sync_state = SyncState.WAITING
        self.progress_s = 0.0
        self.brought = 0
        self.differing: tuple[int, int] | None = None
        self.refused: list[Pair] = []
        self.renounced: list[int] = []
        self.whole = self.peer_whole = True
        self._facts = list(facts)
        self._summary = summary(self._facts) if facts else b""
        self._peer_site = 0
        self._told = ContextDifference(0, [])
        self._collected: list[int] = []
        self._superseded: dict[int, None] = {}
        self._concluding = self._concluded = False
        self._store, self._bytes_max = store, bytes_max
        self._levels = store.digest.levels
        self._had_entries = len(store) > 0
        self._members = 0
        self._requests = 0
        self._work: deque[Iterator[Question | None]] = (
            deque()
        )  # None: a portion of work is done, and there is more
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
        return self._concluding and not self._unanswered and not self._work

    @property
    def learned(self) -> list[Fact]:
        """Once it is complete: what of the peer's context is now true of this replica, too."""
        return self._told.facts if self.whole and self._concluded else []

    def open(self, differs: bool, members: int, sender: str = "") -> list[Question]:
        """The first message. `differs`: the roots are known to differ. `members`: the digest of
        this node's member table."""
        self._members, self._sender = members, sender
        if differs and self._store.sketch.ready:
            self._work.append(self._sketch())
        elif differs and self._levels >= FIRST_LEVEL:
            self._work.append(self._compare(FIRST_LEVEL, range(FAN_OUT ** (FIRST_LEVEL - 1))))
        else:
            self._work.append(
                iter(
                    [
                        Compare(
                            *(
                                self.number,
                                self._next(),
                                self._levels,
                                0,
                                b"",
                                pack("Q", [self._store.digest.root]),
                            ),
                            *(members, sender, self._summary),
                        )
                    ]
                )
            )
        return self.send()

    def send(self) -> list[Question]:
        """The next messages, a few at a time."""
        told: list[Question] = []
        while len(told) < BURST and self._has_room:
            if not self._work:
                if self._unanswered or self._concluding:
                    break
                self._concluding = True
                self._work.append(self._conclude())
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

    # -- answers ----------------------------------------------------------------------------------

    def decoded(self, answer: Decoded, merged: Merge) -> list[Question]:
        """To be called after the answer's entries were merged."""
        self._gained(answer.entries, merged)
        self._superseded |= dict.fromkeys(merged.replaced)
        self._answered(answer.request, Sketch)
        self._met(answer)
        offered, wanted = unpack("Q", answer.offered), unpack("Q", answer.wanted)
        self._differ_at(
            [
                *offered,
                *wanted,
                *(self._store.digest.fingerprint(*pair) for pair in answer.entries[:1]),
            ]
        )
        self._work.append(self._want(offered))
        self._work.append(self._push(wanted))
        return self.send()

    def symbols(self, answer: Symbols) -> list[Question]:
        self._answered(answer.request, Sketch)
        self._met(answer)
        self._work.append(self._decode(answer))
        return self.send()

    def differ(self, answer: Differ) -> list[Question]:
        asked = self._answered(answer.request, Compare)
        self._met(answer)
        differing = dict.fromkeys(unpack("I", answer.differing))
        compared = dict.fromkeys(unpack("I", asked.parents)) if asked.level else {0: None}
        if any(bucket // FAN_OUT not in compared for bucket in differing):
            raise RemoteError(
                "bad_message", "a difference in a bucket that does not exist, or was not compared"
            )
        deepest = min(self._levels, answer.levels)
        if differing and asked.level >= deepest:
            shift = 4 * (asked.level - deepest)
            buckets = list(dict.fromkeys(bucket >> shift for bucket in differing))
            self._work.append(
                self._leaves(deepest, buckets)
                if self._had_entries
                else self._pull(deepest, buckets)
            )
        elif differing and asked.level == 0:
            self._work.append(self._sketch() if self._store.sketch.ready else self._compare(1, [0]))
        elif differing:
            self._work.append(self._compare(asked.level + 1, differing))
        return self.send()

    def entries(self, answer: Entries, merged: Merge) -> list[Question]:
        """To be called after the answer's entries were merged, with what became of them.

        What the peer wants goes before what is asked again, so that no old version is offered
        twice; and what was refused counts as present in this session, so that it is not offered
        again and all that lies behind it comes through.
        """
        self._gained(answer.entries, merged)
        asked = self._unanswered.pop(answer.request, None)
        if not isinstance(asked, (Leaves, Want)):
            raise RemoteError("unasked_answer", "an answer to something that was not asked")
        rest = (
            unpack("I", asked.buckets)
            if isinstance(asked, Leaves)
            else unpack("Q", asked.fingerprints)
        )
        total, rest, got = len(rest), rest[answer.answered :], rest[: answer.answered]
        if isinstance(asked, Want):
            self._check_got(got, answer.entries)
            self._superseded |= dict.fromkeys(merged.replaced)
        refused = (
            self._refuse(asked.level, [*merged.refused, *merged.collected])
            if isinstance(asked, Leaves)
            else 0
        )
        if rest and not (answer.answered or merged.news or refused):
            raise RemoteError("no_progress", "an answer that was cut short and brought nothing")
        self._fit(asked, answer.answered, total)
        if rest:
            self._work.appendleft(
                self._leaves(asked.level, rest) if isinstance(asked, Leaves) else self._want(rest)
            )
        if answer.wanted:
            replaced = dict.fromkeys(merged.replaced)
            self._work.appendleft(
                self._push(
                    wanted for wanted in unpack("Q", answer.wanted) if wanted not in replaced
                )
            )
        return self.send()

    def merged(self, answer: Merged) -> list[Question]:
        """To be called after what the peer has collected was taken out here."""
        self.brought += answer.news
        self.renounced += unpack("Q", answer.collected)
        self.peer_whole &= not answer.refused
        self._pushed_bytes -= _pushed_bytes(self._answered(answer.request, Push))
        return self.send()

    def concluded(self, answer: Concluded) -> list[Question]:
        self._answered(answer.request, Conclude)
        if answer.site != self._peer_site:
            raise RemoteError("another_life", "the peer has restarted while we exchanged")
        self.brought += answer.dropped
        self._concluded = True
        return self.send()

    def _met(self, answer: Decoded | Symbols | Differ) -> None:
        self.peer_sync_state = answer.sync_state
        if answer.request == FIRST_REQUEST and answer.site:
            self._peer_site = answer.site
            try:
                self._told = decode(answer.context)
            except RemoteError:
                self.whole = False  # the data is repaired all the same

    def _check_got(self, wanted: Iterable[int], entries: Sequence[Pair]) -> None:
        """Whether all that was asked for has come: what has changed meanwhile has not."""
        came = dict.fromkeys(self._store.digest.fingerprints(entries))
        self.whole &= all(
            fingerprint in came or fingerprint in self._superseded for fingerprint in wanted
        )

    def _refuse(self, level: int, fingerprints: Iterable[int]) -> int:
        """Remember what was refused; how much of it was not refused before."""
        before = sum(map(len, self._refused.values()))
        for fingerprint in fingerprints:
            self._refused.setdefault(self._store.digest.bucket_of(level, fingerprint), {})[
                fingerprint
            ] = None
        return sum(map(len, self._refused.values())) - before

    def _gained(self, entries: Sequence[Pair], merged: Merge) -> None:
        self.brought += merged.news
        self.whole &= not merged.refused
        self._collected += merged.collected
        if merged.refused and not self.refused:
            self.refused = list(entries[:SHOWN])

    def _differ_at(self, fingerprints: Sequence[int]) -> None:
        if fingerprints and self.differing is None:
            self.differing = (
                self._levels,
                self._store.digest.bucket_of(self._levels, fingerprints[0]),
            )

    def _answered(self, request: int, kind: type[Asked]) -> Asked:
        asked = self._unanswered.pop(request, None)
        if not isinstance(asked, kind):
            raise RemoteError("unasked_answer", "an answer to something that was not asked")
        return asked

    # -- questions, made when it is their turn ----------------------------------------------------

    def _next(self) -> int:
        self._requests += 1
        return self._requests

    def _sketch(self) -> Iterator[Question]:
        store = self._store
        symbols = store.sketch.prefix(FIRST_SYMBOLS)
        told = (self._members, self._sender, self._summary)
        yield Sketch(
            self.number, self._next(), self._levels, parities(store.digest), symbols, *told
        )

    def _compare(self, level: int, parents: Iterable[int]) -> Iterator[Question]:
        sums = self._store.digest.sums(level)
        for chunk in chunks(parents, PARENTS_MAX):
            fingerprints = b"".join(
                pack("Q", sums[parent * FAN_OUT : (parent + 1) * FAN_OUT]) for parent in chunk
            )
            request = self._next()
            told = (self._members, self._sender, self._summary if request == FIRST_REQUEST else b"")
            yield Compare(
                self.number, request, self._levels, level, pack("I", chunk), fingerprints, *told
            )

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
                yield Leaves(
                    self.number,
                    self._next(),
                    level,
                    pack("I", chunk),
                    pack("I", counts),
                    pack("Q", listed),
                )
                chunk, counts, listed = [], [], []
            chunk.append(bucket)
            counts.append(len(found))
            listed += found
        if chunk:
            yield Leaves(
                self.number,
                self._next(),
                level,
                pack("I", chunk),
                pack("I", counts),
                pack("Q", listed),
            )

    def _pull(self, level: int, buckets: Sequence[int]) -> Iterator[Question]:
        """I have nothing: take everything, range by range, in pieces that fit into one answer."""
        self.differing = self.differing or (level, buckets[0])
        self._window = PULL_WINDOW
        first = 0
        while first < len(buckets):
            wanted = buckets[first : first + self._pull_buckets]
            first += len(wanted)
            yield Leaves(
                self.number,
                self._next(),
                level,
                pack("I", wanted),
                pack("I", [0] * len(wanted)),
                b"",
            )

    def _fit(self, asked: Leaves | Want, answered: int, total: int) -> None:
        """Questions follow what fits into an answer: as much as was answered, or twice as many
        buckets where all of them were.

        Otherwise each fingerprint of a range in which everything differs would be made and sent
        many times.
        """
        if self._window == PULL_WINDOW:
            self._pull_buckets = (
                min(max(1, answered), FINGERPRINTS_MAX)
                if answered < total
                else min(2 * total, FINGERPRINTS_MAX)
            )
        elif isinstance(asked, Leaves) and 0 < answered < total:
            fingerprints = len(asked.fingerprints) // 8 * answered // total
            self._leaves_max = min(self._leaves_max, max(fingerprints, FINGERPRINTS_MIN))

    def _decode(self, answer: Symbols) -> Iterator[Question | None]:
        """Portion by portion; then ask for what the symbols told, or descend the tree where they
        were too few."""
        found = (
            (yield from self._store.sketch.peel(answer.symbols))
            if self._store.sketch.ready
            else None
        )
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
            yield from self._want(
                fingerprint
                for fingerprint in chunk
                if fingerprint not in here and fingerprint not in self._superseded
            )
            yield from self._push(here)

    def _want(self, fingerprints: Iterable[int]) -> Iterator[Question]:
        # as many as fit into one answer: what has to be asked for again costs a round trip
        for chunk in chunks(fingerprints, ENTRIES_MAX):
            yield Want(self.number, self._next(), pack("Q", chunk))

    def _push(self, fingerprints: Iterable[int]) -> Iterator[Question]:
        for chunk in chunks(fingerprints, ENTRIES_MAX):
            for batch in batches(self._pairs(chunk), self._bytes_max):
                yield Push(self.number, self._next(), batch)

    def _pairs(self, fingerprints: Sequence[int]) -> Iterator[Pair]:
        """The records of these fingerprints, but for those that have changed meanwhile: they are
        rumors of their own."""
        here = self._store.find(fingerprints)
        self.peer_whole &= all(
            fingerprint in here or fingerprint in self._superseded for fingerprint in fingerprints
        )
        for key in here.values():
            record = self._store.record(key)
            if record is not None:
                yield key, record

    def _conclude(self) -> Iterator[Question]:
        """Made when all else is done: only then is it known what was whole, and what was
        collected."""
        if not self._peer_site:
            return  # an older release, which knows of no contexts
        facts = lacking(self._facts, self._summary, self._told) if self.peer_whole else []
        if not (facts or self._collected or (self._told.facts and self.whole)):
            return
        context = encode(ContextDifference(0, facts)) if facts else b""
        for chunk in chunks(self._collected, COLLECTED_MAX) if self._collected else [[]]:
            yield Conclude(self.number, self._next(), self._peer_site, context, pack("Q", chunk))
            context = b""


def _pushed_bytes(question: Question) -> int:
    return sum(len(record) for _, record in question.entries) if isinstance(question, Push) else 0
