"""Inspection: which keys differ from a member, and how; found out, and not repaired.

It asks the questions of an exchange that change nothing - Sketch, Compare, Leaves, Want - and looks
at the answers instead of keeping them. So every member that can exchange can be inspected, whatever
its release, and has no state of it.

    few differences    Sketch --> Decoded, or Symbols; Want --> Entries    all keys that differ
    many               Compare --> Differ, level by level; then Leaves --> Entries, of some buckets
    one key            Compare of the roots; Leaves of its bucket

Laws
- One question at a time. It ends when it has found more keys than are wanted, or has looked at
  LOOKED_MAX or at BYTES_MAX of them: `whole` is false while there are others.
- It is never said of a key that the member lacks it before all that the member has in that position
  was seen.
- What a member says is its word, and no more: records that cannot be read are left out and counted,
  and nothing that it names is kept.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from kvgossip.errors import BadKeyError, RemoteError
from kvgossip.protocol.anti_entropy.difference import SHARE_MAX
from kvgossip.protocol.anti_entropy.initiator import DEEP_LEVEL, FIRST_LEVEL
from kvgossip.protocol.anti_entropy.questions import PARENTS_MAX, Question, Questions
from kvgossip.protocol.anti_entropy.survey import differing_keys_in
from kvgossip.protocol.effect import Differing, Theirs
from kvgossip.protocol.model.entry import check_record
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.store.digest import FAN_OUT, POSITION_BITS
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.batching import chunks, unpack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.message import Notice, Precision

LOOKED_MAX = 2000
BYTES_MAX = 8 * 2**20
WANTED = 64
FOUND_A_STEP = 256
_POSITION_SHIFT = 64 - POSITION_BITS

Answer = Decoded | Symbols | Differ | Entries
Work = Generator[Question | None, Answer, None]
"""Questions, each of which gets its answer; None: a step of work is done, and there is more."""

_ANSWERS: dict[type, tuple[type, ...]] = {
    Sketch: (Decoded, Symbols),
    Compare: (Differ,),
    Leaves: (Entries,),
    Want: (Entries,),
}


class Sought(NamedTuple):
    """At most `limit` keys that start with `prefix`; or, where it is not None, this one `key`."""

    prefix: str = ""
    limit: int = 100
    key: str | None = None


class Inspection:
    """Of one member. `start` it, then `hear` each answer."""

    def __init__(self, store: Store, questions: Questions, sought: Sought) -> None:
        #: by how many keys the two differ
        self.keys, self.precision = 0, Precision.EXACT
        #: all that was sought was looked at
        self.whole = False
        #: how many records of the member cannot be read here
        self.unreadable = 0
        self._store, self._questions, self._sought = store, questions, sought
        self._levels = store.digest.levels
        #: by key, all that were found to differ
        self._theirs: dict[str, Theirs] = {}
        #: how many of these were sought; how many entries were looked at, and their bytes
        self.matching = self._looked = self._bytes = 0
        self._asked: Question | None = None
        self._work = self._find() if sought.key is None else self._find_one(sought.key)

    def found(self) -> tuple[Differing, ...]:
        """Those that were sought and still differ, sorted by key."""
        sought = self._sought
        named = (
            Differing(key, self._store.record(key), self._theirs[key])
            for key in sorted(filter(self._is_sought, self._theirs))[: sought.limit]
        )
        return tuple(each for each in named if each.here != each.there)

    def start(self) -> Iterator[Question | None]:
        """The first question; None: a step of work is done, and there is more."""
        return self._go_on(None)

    def hear(self, answer: Answer) -> Iterator[Question | None]:
        """As `start`: the next question, and none at the end. Raises RemoteError for what makes no
        sense, or answers nothing that was asked."""
        asked = self._asked
        if (
            asked is None
            or answer.request != asked.request
            or not isinstance(answer, _ANSWERS[type(asked)])
        ):
            raise RemoteError("unasked_answer", "an answer to something that was not asked")
        return self._go_on(answer)

    def _go_on(self, answer: Answer | None) -> Iterator[Question | None]:
        self._asked = None
        try:
            step = next(self._work) if answer is None else self._work.send(answer)
            while step is None:
                yield None
                step = next(self._work)
        except StopIteration:
            self._conclude()
            return
        self._asked = step
        yield step

    def _conclude(self) -> None:
        if self.whole and self._sought.key is None:
            self.keys, self.precision = len(self._theirs), Precision.EXACT
        self.keys = max(self.keys, len(self._theirs))

    # -- what to ask ------------------------------------------------------------------------------

    def _find(self) -> Work:
        questions, levels = self._questions, self._levels
        if self._store.sketch.ready:
            answer = yield next(questions.sketch())
            if isinstance(answer, Decoded):
                yield from self._name_decoded(answer)
                return
            assert isinstance(answer, Symbols)
            found = yield from self._peel(answer)
            if found is not None:
                yield from self._name(found)
                return
            levels = min(levels, answer.levels)
        yield from self._descend(min(FIRST_LEVEL, levels))

    def _peel(self, answer: Symbols) -> Generator[None, Answer, list[int] | None]:
        return (yield from self._store.sketch.peel(answer.symbols))

    def _find_one(self, key: str) -> Work:
        answer = yield next(self._questions.root())
        assert isinstance(answer, Differ)
        if answer.differing:
            level = min(self._levels, answer.levels)
            bucket = self._store.digest.bucket_of(level, self._store.digest.hash_of(key))
            yield from self._look(level, [bucket])
        else:
            self.whole = True
        self.whole |= key in self._theirs

    # -- few: all of them are named ---------------------------------------------------------------

    def _name_decoded(self, answer: Decoded) -> Work:
        """The entries that the answer had room for are known already."""
        self._take(answer.entries, answer.left_out)
        here = self._store.digest.fingerprints(answer.entries)
        rest = [*unpack("Q", answer.offered), *unpack("Q", answer.wanted)]
        yield from self._name([*here, *rest], dict.fromkeys(here))

    def _name(self, found: Sequence[int], seen: Iterable[int] = ()) -> Work:
        """Give each of these fingerprints its key, position by position. Those of `seen` need not
        be asked for."""
        seen, here = dict.fromkeys(seen), dict[int, str]()
        for chunk in chunks(found, FOUND_A_STEP):
            here |= self._store.find(chunk)
            yield None
        self.keys = max(self.keys, differing_keys_in(found, here))
        ours, theirs = dict[int, list[str]](), dict[int, list[int]]()
        for fingerprint in found:
            position = fingerprint >> _POSITION_SHIFT
            if fingerprint in here:
                ours.setdefault(position, []).append(here[fingerprint])
            elif fingerprint not in seen:
                theirs.setdefault(position, []).append(fingerprint)
        self._lacks(
            key for position, keys in ours.items() if position not in theirs for key in keys
        )
        positions = sorted(theirs)
        while positions and not self._is_enough:
            some: list[int] = []
            wanted: list[int] = []
            while positions and len(wanted) < WANTED:
                some.append(positions.pop(0))
                wanted += theirs[some[-1]]
            if not (yield from self._want(wanted)):
                return
            self._lacks(key for position in some for key in ours.get(position, ()))
        self.whole = not positions

    def _want(self, fingerprints: Sequence[int]) -> Generator[Question | None, Answer, bool]:
        """Ask for these records; true if all have come that are there still."""
        while fingerprints:
            asked = next(self._questions.want(fingerprints))
            answer = yield asked
            assert isinstance(answer, Entries)
            self._take(answer.entries, answer.left_out)
            if not answer.answered or self._bytes >= BYTES_MAX:
                return False
            fingerprints = fingerprints[answer.answered :]
        return True

    # -- many: some buckets -----------------------------------------------------------------------

    def _descend(self, level: int) -> Work:
        """Compare level by level; at the last one look into some of the buckets that differ."""
        parents: Sequence[int] = range(FAN_OUT ** (level - 1))
        is_all = True
        while True:
            differing: list[int] = []
            deepest = level
            for question in self._questions.compare(level, parents):
                answer = yield question
                assert isinstance(answer, Differ)
                differing += _checked(answer, parents)
                deepest = min(self._levels, answer.levels)
            if level >= deepest:
                shift = 4 * (level - deepest)
                differing = sorted(dict.fromkeys(bucket >> shift for bucket in differing))
            if level <= DEEP_LEVEL:
                self._estimate(len(differing), FAN_OUT ** min(level, deepest))
            if not differing:
                self.whole = True
                return
            if level >= deepest:
                break
            level, parents = level + 1, differing
            if level > DEEP_LEVEL and len(parents) > PARENTS_MAX:
                parents, is_all = parents[:PARENTS_MAX], False
        yield from self._look(deepest, differing)
        self.whole &= is_all

    def _estimate(self, differing: int, buckets: int) -> None:
        """Of m buckets a share 1 - e^(-k/m) holds some of k differing keys."""
        share = differing / buckets
        self.keys = round(-math.log(1 - min(share, SHARE_MAX)) * buckets)
        is_all = share <= SHARE_MAX
        self.precision = Precision.ESTIMATE if is_all else Precision.AT_LEAST

    def _look(self, level: int, buckets: Sequence[int]) -> Work:
        """Both sides' entries of these buckets, one question after the other."""
        while buckets and not self._is_enough:
            asked = next(self._questions.leaves(level, buckets))
            assert isinstance(asked, Leaves)
            answer = yield asked
            assert isinstance(answer, Entries)
            before = len(self._theirs)
            self._take(answer.entries, answer.left_out)
            # so that they are not offered again where a bucket has to be asked for twice
            came = self._store.digest.fingerprints(answer.entries)
            self._questions.refused(level, came)
            wanted = unpack("Q", answer.wanted)
            self._looked += len(wanted)
            self._lacks(self._store.find(wanted).values())
            if not answer.answered and len(self._theirs) == before:
                return
            buckets = buckets[answer.answered :]
        self.whole = not buckets

    # -- what was found ---------------------------------------------------------------------------

    @property
    def _is_enough(self) -> bool:
        if self._sought.key is not None:
            return self._sought.key in self._theirs or self._bytes >= BYTES_MAX
        return (
            self.matching > self._sought.limit
            or self._looked >= LOOKED_MAX
            or self._bytes >= BYTES_MAX
        )

    def _take(self, entries: Iterable[tuple[str, bytes]], left_out: Iterable[Notice]) -> None:
        for key, record in entries:
            self._looked += 1
            self._bytes += len(record)
            try:
                check_key(key)
                check_record(record)
            except (RemoteError, BadKeyError):
                self.unreadable += 1
            else:
                self._differs(key, record)
        for notice in left_out:
            try:
                check_key(notice.key)
            except BadKeyError:
                self.unreadable += 1
            else:
                self._differs(notice.key, notice)

    def _lacks(self, keys: Iterable[str]) -> None:
        """The member has nothing under those of these keys of which nothing has come."""
        for key in keys:
            if key not in self._theirs:
                self._differs(key, None)

    def _differs(self, key: str, theirs: Theirs) -> None:
        self.matching += key not in self._theirs and self._is_sought(key)
        self._theirs[key] = theirs

    def _is_sought(self, key: str) -> bool:
        sought = self._sought
        return key == sought.key if sought.key is not None else key.startswith(sought.prefix)


def _checked(answer: Differ, parents: Sequence[int]) -> list[int]:
    """The buckets that differ. Raises RemoteError for one that was not compared."""
    differing = list(unpack("I", answer.differing))
    compared = dict.fromkeys(parents)
    if len(differing) > FAN_OUT * len(compared) or any(
        bucket // FAN_OUT not in compared for bucket in differing
    ):
        raise RemoteError("bad_message", "a difference in a bucket that was not compared")
    return differing
