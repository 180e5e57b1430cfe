"""One push-pull anti-entropy session, as its initiator sees it: both sides end with the union, at a
cost that follows the differences.

    few differences    Sketch --> Decoded, with what I lack              one round trip, one more to
                       push what the peer wants
                       Sketch --> Symbols; Want --> Entries              when the first symbols are
                       too few
    many               Compare --> Differ, level by level; then Leaves: my entries' fingerprints -->
                       Entries: those that I lack
    an empty store     Leaves without fingerprints, range by range of the buckets in which the peer
                       has anything
    in any case        Push: the entries that the peer wants --> Merged
                       Conclude: my context --> Concluded                   where contexts differ,
                       or something was collected

The initiator holds all state of the session, the answering side none (responder.py), so "complete"
has one judge. Its questions are made by questions.py; session_context.py judges what either side
may learn of the other's causal context.

Laws
- A session is complete when nothing that it asked is unanswered and nothing is left to ask. A cut
  session loses nothing: merged entries stay merged, and the next one finds the rest.
- Work is done in steps of some milliseconds: a call returns at most BURST messages, each short
  enough to be made and answered quickly; `eager` says that there is more to send. So however much
  differs, the event loop is never held for long.
- Fingerprints that a peer names are only ever looked up; a lie costs the liar's session, nothing
  else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeVar

from kvgossip.config import Address
from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.keeper import Kept
from kvgossip.protocol.anti_entropy.questions import FIRST_REQUEST, Question, Questions
from kvgossip.protocol.anti_entropy.session_context import SessionContext
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.store.digest import FAN_OUT
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.fact import Fact
from kvgossip.protocol.wire.batching import Room, unpack
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
    parts_of,
)
from kvgossip.protocol.wire.message import Pair

Asked = TypeVar("Asked", bound=Question)

BURST = 1
PUSHED_BYTES_MAX = 4 * 2**20
FIRST_LEVEL = 2
DEEP_LEVEL = 3
SHOWN = 3


class Exchange:
    """One session with `peer`. Each method that takes an answer returns the next messages to send.

    `room`: the peer's. `facts`: this replica's context; without them contexts are left alone.
    """

    def __init__(
        self,
        number: int,
        peer: str,
        address: Address,
        store: Store,
        room: Room,
        facts: Sequence[Fact] = (),
    ) -> None:
        self.number, self.peer, self.address = number, peer, address
        self.peer_sync_state = SyncState.WAITING
        #: the times of the first question and of the last answer, monotonic seconds
        self.began_s = self.progress_s = 0.0
        #: how many questions were asked
        self.trips = 0
        #: how many entries either side gained, or dropped
        self.brought = 0
        #: the bytes of these
        self.brought_bytes = 0
        #: the first (level, bucket) that differed
        self.differing: tuple[int, int] | None = None
        #: some of the entries that were refused: an operator needs to see them when exchanges bring
        #: nothing
        self.refused: list[Pair] = []
        #: fingerprints of entries here that the peer has collected
        self.collected_by_peer: list[int] = []
        #: parts of typed ones that it has, as Merged has them
        self.parts_by_peer: list[bytes] = []
        #: perhaps for an expiry of up to then, milliseconds since 1970
        self.expired_by_peer_ms = 0
        self.context = SessionContext(facts)
        self._questions = Questions(number, store, room, self.context)
        self._store = store
        self._levels = store.digest.levels
        self._had_entries = len(store) > 0
        #: nothing but Conclude is left to ask
        self._concluding = False
        #: questions to come; None of one of them: a step of work is done, and there is more
        self._work: deque[Iterator[Question | None]] = deque()
        #: by request
        self._unanswered: dict[int, Question] = {}
        #: of the pushed entries that are unanswered
        self._pushed_bytes = 0

    @property
    def eager(self) -> bool:
        """True if there is more to send at once."""
        return bool(self._work) and self._has_room

    @property
    def _has_room(self) -> bool:
        window = self._questions.window
        return len(self._unanswered) < window and self._pushed_bytes < PUSHED_BYTES_MAX

    @property
    def complete(self) -> bool:
        return self._concluding and not self._unanswered and not self._work

    def open(self, differs: bool, members: int, sender: str = "") -> list[Question]:
        """The first message. `differs`: the roots are known to differ. `members`: the digest of
        this node's member table."""
        questions = self._questions
        questions.introduce(members, sender)
        if differs and self._store.sketch.ready:
            self._work.append(questions.sketch())
        elif differs and self._levels >= FIRST_LEVEL:
            self._work.append(questions.compare(FIRST_LEVEL, range(FAN_OUT ** (FIRST_LEVEL - 1))))
        else:
            self._work.append(questions.root())
        return self.send()

    def send(self) -> list[Question]:
        """The next messages, a few at a time."""
        messages: list[Question] = []
        while len(messages) < BURST and self._has_room:
            if not self._work:
                if self._unanswered or self._concluding:
                    break
                self._concluding = True
                self._work.append(self._questions.conclude())
            try:
                question = next(self._work[0])
            except StopIteration:
                self._work.popleft()
                continue
            if question is None:
                break
            self._unanswered[question.request] = question
            self._pushed_bytes += _pushed_bytes(question)
            messages.append(question)
        return messages

    # -- answers ----------------------------------------------------------------------------------

    def decoded(self, answer: Decoded, kept: Kept) -> list[Question]:
        """To be called after the answer's entries were kept."""
        self._gained(answer.entries, kept)
        self.context.superseded |= dict.fromkeys(kept.replaced)
        self._answered(answer.request, Sketch)
        self.met(answer)
        self.context.left_out_here(answer.left_out)
        offered, wanted = unpack("Q", answer.offered), _now(answer.wanted, kept)
        self._differ_at(
            [
                *offered,
                *wanted,
                *(self._store.digest.fingerprint(*pair) for pair in answer.entries[:1]),
            ]
        )
        self._work.append(self._questions.want(offered))
        self._work.append(self._questions.push(wanted))
        return self.send()

    def symbols(self, answer: Symbols) -> list[Question]:
        self._answered(answer.request, Sketch)
        self.met(answer)
        self._work.append(self._decode(answer))
        return self.send()

    def _decode(self, answer: Symbols) -> Iterator[Question | None]:
        """Step by step; then ask for what the symbols gave, or descend the tree where they were too
        few."""
        sketch = self._store.sketch
        found = (yield from sketch.peel(answer.symbols)) if sketch.ready else None
        if found is not None:
            self._differ_at(found)
            yield from self._questions.sort_out(found)
        else:
            level = min(DEEP_LEVEL, self._levels, answer.levels)
            yield from self._questions.compare(level, range(FAN_OUT ** (level - 1)))

    def differ(self, answer: Differ) -> list[Question]:
        asked = self._answered(answer.request, Compare)
        self.met(answer)
        compared = OrderedSet(unpack("I", asked.parents) if asked.level else [0])
        if len(answer.differing) > 4 * FAN_OUT * len(compared):
            raise RemoteError("bad_message", "more differences than were compared")
        differing = OrderedSet(unpack("I", answer.differing))
        if any(bucket // FAN_OUT not in compared for bucket in differing):
            raise RemoteError(
                "bad_message", "a difference in a bucket that does not exist, or was not compared"
            )
        deepest, questions = min(self._levels, answer.levels), self._questions
        if differing and asked.level >= deepest:
            shift = 4 * (asked.level - deepest)
            # in order, so that those which share a table come after each other
            buckets = sorted(dict.fromkeys(bucket >> shift for bucket in differing))
            self.differing = self.differing or (deepest, buckets[0])
            self._work.append(
                questions.leaves(deepest, buckets)
                if self._had_entries
                else questions.pull(deepest, buckets)
            )
        elif differing and asked.level == 0:
            sketch = self._store.sketch
            self._work.append(questions.sketch() if sketch.ready else questions.compare(1, [0]))
        elif differing:
            self._work.append(questions.compare(asked.level + 1, differing))
        return self.send()

    def entries(self, answer: Entries, kept: Kept) -> list[Question]:
        """To be called after the answer's entries were kept, with the outcomes.

        Entries that the peer wants go before those that are asked for again, so that no old version
        is offered twice; and a refused entry counts as present in this session, so that it is not
        offered again and all that lies behind it comes through.
        """
        self._gained(answer.entries, kept)
        asked = self._unanswered.pop(answer.request, None)
        if not isinstance(asked, (Leaves, Want)):
            raise RemoteError("unasked_answer", "an answer to something that was not asked")
        self.context.left_out_here(answer.left_out)
        all_asked = (
            unpack("I", asked.buckets)
            if isinstance(asked, Leaves)
            else unpack("Q", asked.fingerprints)
        )
        rest, refused = all_asked[answer.answered :], 0
        if isinstance(asked, Leaves):
            of_parts = (int.from_bytes(part[:8], "big") for part in kept.parts)
            refused = self._questions.refused(
                asked.level, [*kept.refused, *kept.collected, *of_parts]
            )
        else:
            came = dict.fromkeys(self._store.digest.fingerprints(answer.entries))
            self.context.came(all_asked[: answer.answered], came)
            self.context.superseded |= dict.fromkeys(kept.replaced)
        if rest and not (answer.answered or kept.news or refused):
            raise RemoteError("no_progress", "an answer that was cut short and brought nothing")
        self._questions.fit(asked, answer.answered, len(all_asked))
        if rest:
            self._work.appendleft(
                self._questions.leaves(asked.level, rest)
                if isinstance(asked, Leaves)
                else self._questions.want(rest)
            )
        if answer.wanted:
            replaced = dict.fromkeys(kept.replaced)
            self._work.appendleft(
                self._questions.push(
                    wanted for wanted in _now(answer.wanted, kept) if wanted not in replaced
                )
            )
        return self.send()

    def collected_in(self, answer: Merged) -> list[int]:
        """The fingerprints of entries that the peer has collected: of those that were pushed to it
        by the question that it answers."""
        offered = self._pushed(answer.request) if answer.collected else {}
        return [each for each in unpack("Q", answer.collected) if each in offered]

    def parts_in(self, answer: Merged) -> list[bytes]:
        """`collected_in` for parts of typed entries."""
        offered = self._pushed(answer.request) if answer.parts else {}
        parts = parts_of(answer.parts)
        return [part for part in parts if int.from_bytes(part[:8], "big") in offered]

    def _pushed(self, request: int) -> dict[int, None]:
        """The fingerprints of what was pushed by that question."""
        pushed = self._unanswered.get(request)
        entries = pushed.entries if isinstance(pushed, Push) else ()
        return dict.fromkeys(self._store.digest.fingerprints(entries))

    def merged(self, answer: Merged) -> list[Question]:
        """To be called after the entries that the peer has collected were taken out here."""
        self.brought += answer.news
        self.collected_by_peer += self.collected_in(answer)
        self.parts_by_peer += self.parts_in(answer)
        self.expired_by_peer_ms = max(self.expired_by_peer_ms, answer.expired_ms)
        self.context.refused(answer.refused)
        pushed = self._answered(answer.request, Push)
        self._pushed_bytes -= _pushed_bytes(pushed)
        self.brought_bytes += _share(pushed.entries, answer.news)
        return self.send()

    def concluded(self, answer: Concluded) -> list[Question]:
        self._answered(answer.request, Conclude)
        if answer.site != self.context.peer_site:
            raise RemoteError("another_life", "the peer has restarted while we exchanged")
        self.brought += answer.dropped
        self.context.concluded = True
        return self.send()

    def met(self, answer: Decoded | Symbols | Differ) -> None:
        """The peer, by its first answer; harmless when repeated."""
        self.peer_sync_state = answer.sync_state
        if answer.request == FIRST_REQUEST and answer.site and not self.context.peer_site:
            self.context.met(answer.site, answer.context)

    def _gained(self, entries: Sequence[Pair], kept: Kept) -> None:
        self.brought += kept.news
        self.brought_bytes += _share(entries, kept.news)
        self.context.kept(kept)
        if kept.refused and not self.refused:
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


def _now(wanted: bytes, kept: Kept) -> list[int]:
    """The fingerprints of entries that the peer wants; of what has joined with what came, that of
    what it has come to."""
    return [kept.joined.get(fingerprint, fingerprint) for fingerprint in unpack("Q", wanted)]


def _share(entries: Sequence[Pair], news: int) -> int:
    """The bytes of so many of these entries, as the average goes."""
    size = sum(len(key) + len(record) for key, record in entries)
    return size * min(news, len(entries)) // max(1, len(entries))


def _pushed_bytes(question: Question) -> int:
    return sum(len(record) for _, record in question.entries) if isinstance(question, Push) else 0
