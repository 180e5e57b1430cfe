"""Anti-entropy: two stores joined by a fake link, which encodes everything, end with the union by
the merge order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvgossip.config import PARAMETERS, Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.answers import (
    answer_compare,
    answer_leaves,
    answer_sketch,
    answer_want,
)
from kvgossip.protocol.anti_entropy.initiator import Exchange
from kvgossip.protocol.anti_entropy.keeper import Kept
from kvgossip.protocol.anti_entropy.questions import WINDOW
from kvgossip.protocol.model.member import Member, SyncState
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.batching import ENTRIES_MAX, Room, pack, unpack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
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
from kvgossip.protocol.wire.message import Message, Pair
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, address_of, record
from tests.protocol.strategies import keys, records

CONTENT = st.dictionaries(keys, records, max_size=12)
LEVELS = st.integers(1, 4)
BYTES_MAX = 4096
Refuses = Callable[[str], bool]
Write = tuple[bool, str, bytes]


def nobody(key: str) -> bool:
    return False


def store_of(content: dict[str, bytes], levels: int = 4) -> Store:
    store = Store(DigestTree(levels, seed=7))
    for key, held in content.items():
        store.merge(key, held)
    while not store.sketch.idle:
        store.work_on_sketch()
    return store


def union(*contents: dict[str, bytes]) -> dict[str, bytes]:
    store = store_of({})
    for content in contents:
        for key, held in content.items():
            store.merge(key, held)
    return dict(store.records())


def content(store: Store) -> dict[str, bytes]:
    return dict(store.records())


def many(count: int, prefix: str = "k", size: int = 1, ms: int = 0) -> dict[str, bytes]:
    return {f"{prefix}{number}": record(b"v" * size, ms) for number in range(count)}


def whole(work: Generator[None, None, Entries]) -> Entries:
    """The answer, whatever number of steps it takes."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            answer: Entries = end.value
            return answer


class Session:
    """One exchange between two stores. Every message crosses as bytes; `trace` is what was said,
    `sizes` how long it was.

    `writes` happen meanwhile, one before each message: whether here or there, under which key,
    what.
    """

    def __init__(
        self,
        mine: Store,
        theirs: Store,
        *,
        bytes_max: int = BYTES_MAX,
        refuses: Refuses = nobody,
        writes: Sequence[Write] = (),
    ) -> None:
        self.mine, self.theirs, self.bytes_max, self.refuses = mine, theirs, bytes_max, refuses
        self.writes = iter(writes)
        self.exchange = Exchange(5, "b", address_of(1), mine, Room(bytes_max))
        self.trace: list[str] = []
        self.sizes: list[tuple[Message, int]] = []
        self.rounds = 0

    def run(self, *, differs: bool = True, messages_max: int = 10_000) -> bool:
        """Until the exchange is complete, or so many messages were said; whether it is complete."""
        asked: list[Message] = [*self.exchange.open(differs, members=0)]
        for question in asked:
            if len(self.trace) + 2 > messages_max:
                return False
            answer = self._cross(self._answer(self._cross(question)))
            asked += self._take(answer)
            while self.exchange.eager:
                asked += self.exchange.send()
        return self.exchange.complete

    def _cross(self, message: Message) -> Message:
        for here, key, held in islice(self.writes, 1):
            (self.mine if here else self.theirs).merge(key, held)
        data = encode(message)
        self.trace.append(type(message).__name__)
        self.sizes.append((message, len(data)))
        (heard,), faults = LAN.open(LAN.frame([data], reliable=True), reliable=True)
        assert not faults
        assert not isinstance(heard, Member)
        assert heard == message
        return heard

    def _answer(self, asked: Message) -> Message:
        match asked:
            case Sketch():
                return answer_sketch(self.theirs, asked, Room(self.bytes_max), 0, SyncState.SETTLED)
            case Compare():
                return answer_compare(self.theirs, asked, 0, SyncState.SETTLED)
            case Leaves():
                return whole(answer_leaves(self.theirs, asked, Room(self.bytes_max)))
            case Want():
                return whole(answer_want(self.theirs, asked, Room(self.bytes_max)))
            case Push():
                for key, held in asked.entries:
                    self.theirs.merge(key, held)
                return Merged(asked.exchange, asked.request)
        raise AssertionError(asked)

    def _take(self, answer: Message) -> list[Message]:
        match answer:
            case Decoded():
                return [*self.exchange.decoded(answer, self._merge(answer.entries))]
            case Symbols():
                return [*self.exchange.symbols(answer)]
            case Differ():
                return [*self.exchange.differ(answer)]
            case Entries():
                return [*self.exchange.entries(answer, self._merge(answer.entries))]
            case Merged():
                return [*self.exchange.merged(answer)]
        raise AssertionError(answer)

    def _merge(self, entries: tuple[Pair, ...]) -> Kept:
        news, refused = 0, []
        for key, held in entries:
            if self.refuses(key):
                refused.append(self.mine.digest.fingerprint(key, held))
            else:
                news += self.mine.merge(key, held) is not None
        return Kept(news, refused)


# -- the union -----------------------------------------------------------------------------------


@given(CONTENT, CONTENT, LEVELS, LEVELS, st.booleans(), st.booleans())
def test_both_sides_end_with_the_union_by_the_merge_order(
    mine: dict[str, bytes],
    theirs: dict[str, bytes],
    my_levels: int,
    their_levels: int,
    ready: bool,
    differs: bool,
) -> None:
    left, right = store_of(mine, my_levels), store_of(theirs, their_levels)
    if not ready:
        unready(left)
    roots_differ = left.digest.root != right.digest.root
    assert Session(left, right).run(differs=differs and roots_differ)
    assert content(left) == content(right) == union(mine, theirs)
    left._check()
    right._check()


@given(
    CONTENT,
    CONTENT,
    st.integers(0, 60),
    st.lists(st.tuples(st.booleans(), keys, records), max_size=8),
    st.booleans(),
)
def test_sketch_and_tree_find_the_same_differences_also_while_both_sides_take_writes(
    mine: dict[str, bytes],
    theirs: dict[str, bytes],
    more: int,
    writes: list[Write],
    mine_is_more: bool,
) -> None:
    ours, others = (
        ({**mine, **many(more)}, theirs) if mine_is_more else (mine, {**theirs, **many(more)})
    )
    expected, written = union(ours, others), {key for _, key, _ in writes}
    for sketched in (True, False):
        left, right = store_of(ours), store_of(others)
        if left.digest.root == right.digest.root:
            return
        if not sketched:
            unready(left)
        session = Session(left, right, writes=writes)
        assert session.run()
        assert ("Sketch" in session.trace) is sketched
        for side in (content(left), content(right)):
            assert {key: held for key, held in side.items() if key not in written} == {
                key: held for key, held in expected.items() if key not in written
            }
        assert left.digest.root == right.digest.root or Session(left, right).run()
        assert content(left) == content(right)
        left._check()
        right._check()


def unready(store: Store) -> None:
    """As after a bulk load: the sketch is still being built."""
    store.sketch._covered = 0


@pytest.mark.parametrize("levels", [(1, 1), (1, 4), (4, 1), (2, 1), (3, 2), (2, 4), (4, 4)])
@pytest.mark.parametrize("readiness", ["both", "mine", "theirs", "neither"])
def test_many_differences_are_repaired_whatever_the_depths_of_the_trees(
    levels: tuple[int, int], readiness: str
) -> None:
    mine, theirs = {**many(300), **many(400, "mine")}, {**many(300, ms=1), **many(200, "theirs")}
    left, right = store_of(mine, levels[0]), store_of(theirs, levels[1])
    if readiness not in ("both", "mine"):
        unready(left)
    if readiness not in ("both", "theirs"):
        unready(right)
    assert Session(left, right, bytes_max=16_384).run()
    assert content(left) == content(right) == union(mine, theirs)


@settings(max_examples=30)
@given(st.integers(2, 60), st.booleans())
def test_an_exchange_that_is_cut_at_any_message_loses_nothing_and_the_next_one_finds_the_rest(
    messages: int, ready: bool
) -> None:
    mine, theirs = (
        {**many(40), **many(30, "mine", 300)},
        {**many(40, ms=1), **many(30, "theirs", 300)},
    )
    left, right = store_of(mine), store_of(theirs)
    if not ready:
        unready(left)
    Session(left, right).run(messages_max=messages)
    half = union(content(left), content(right))
    assert half == union(mine, theirs)
    assert Session(right, left).run()
    assert content(left) == content(right) == half


def test_lesson_05_the_same_data_is_never_different_and_costs_one_round_trip() -> None:
    held = many(500)
    left, right = store_of(held), store_of(dict(reversed(held.items())), levels=2)
    session = Session(left, right)
    assert session.run(differs=False)
    assert session.trace == ["Compare", "Differ"]


@pytest.mark.parametrize("refused", ["k7", "big"])
def test_lesson_08_an_entry_that_is_refused_stops_nothing(refused: str) -> None:
    """Also one that fills an answer by itself."""
    theirs = {**many(600), "big": record(b"v" * 3 * BYTES_MAX)}
    for ready in (True, False):
        left, right = store_of({"mine": record(b"1")}), store_of(theirs)
        if not ready:
            unready(left)
        assert Session(left, right, refuses=lambda key: key == refused).run()
        assert content(left) == {
            key: held
            for key, held in union(theirs, {"mine": record(b"1")}).items()
            if key != refused
        }
        assert content(right) == union(theirs, {"mine": record(b"1")})


@pytest.mark.parametrize("mine", [{}, {"x": record(b"1")}])
def test_entries_that_are_all_refused_end_the_exchange_and_stop_nothing_else(
    mine: dict[str, bytes],
) -> None:
    theirs = {**many(700, "bad", 50), **many(300, "good", 50)}
    left, right = store_of(mine), store_of(theirs)
    assert Session(left, right, refuses=lambda key: key.startswith("bad")).run()
    assert content(left) == union(mine, many(300, "good", 50))


def test_lesson_06_what_is_sent_follows_what_differs_and_not_what_there_is() -> None:
    held = many(5000, size=100)
    left, right = store_of(held), store_of(union(held, many(5, "new", 100)))
    session = Session(left, right)
    assert session.run()
    assert sum(size for _, size in session.sizes) < 3000
    assert content(left) == content(right)


def test_lesson_07_an_entry_larger_than_any_message_is_sent_alone() -> None:
    theirs = {"small": record(b"1"), "large": record(b"v" * 50 * BYTES_MAX), "other": record(b"2")}
    for mine in ({}, {"x": record(b"3")}):
        left, right = store_of(mine), store_of(theirs)
        session = Session(left, right)
        assert session.run()
        assert content(left) == union(mine, theirs)


# -- bounds --------------------------------------------------------------------------------------


def entries_of(message: Message) -> tuple[Pair, ...]:
    return message.entries if isinstance(message, (Entries, Decoded, Push)) else ()


@pytest.mark.parametrize(
    "bytes_max", [int(PARAMETERS["message_bytes_max"].low or 0), Config().message_bytes_max]
)
@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize("levels", [1, 4])
def test_no_message_is_longer_than_its_limit_but_for_one_larger_entry(
    bytes_max: int, ready: bool, levels: int
) -> None:
    """Also where the limit is the smallest that Config takes."""
    mine, theirs = (
        {**many(3000), **many(300, "m", 900), "ml": record(b"v" * 10_000)},
        {**many(3000, ms=1), **many(500, "t", 700)},
    )
    left, right = store_of(mine, levels), store_of(theirs, levels)
    if not ready:
        unready(left)
    session = Session(left, right, bytes_max=bytes_max)
    assert session.run()
    assert content(left) == content(right)
    for message, size in session.sizes:
        assert size <= bytes_max + 64 or len(entries_of(message)) == 1, type(message).__name__
        assert len(entries_of(message)) <= ENTRIES_MAX


def test_a_bounded_number_of_questions_is_under_way() -> None:
    exchange = Exchange(5, "b", address_of(1), store_of(many(5000, size=300)), Room(BYTES_MAX))
    asked = exchange.open(True, 0)
    (sketch,) = asked
    assert isinstance(sketch, Sketch)
    wanted = pack(
        "Q",
        [exchange._store.digest.fingerprint(key, held) for key, held in exchange._store.records()],
    )
    asked = exchange.decoded(
        Decoded(5, sketch.request, 4, (), b"", wanted, 0, SyncState.SETTLED), Kept(0, [])
    )
    while exchange.eager:
        burst = exchange.send()
        assert 0 < len(burst) <= 2
        asked += burst
    assert len(asked) == WINDOW
    assert all(isinstance(question, Push) for question in asked)


# -- how many rounds: a change here is a change of what an exchange costs ------------------------


def said(
    left: dict[str, bytes], right: dict[str, bytes], *, ready: bool = True, differs: bool = True
) -> dict[str, int]:
    one, other = store_of(left), store_of(right)
    if not ready:
        unready(one)
    session = Session(one, other, bytes_max=256 * 1024)
    assert session.run(differs=differs)
    assert content(one) == content(other)
    return dict(Counter(session.trace))


def test_a_few_differences_take_one_round_trip_and_one_to_push() -> None:
    held = many(5000)
    assert said({**held, "m": record(b"1")}, {**held, "t": record(b"2")}) == {
        "Sketch": 1,
        "Decoded": 1,
        "Push": 1,
        "Merged": 1,
    }
    assert said(held, {**held, "t": record(b"2")}) == {"Sketch": 1, "Decoded": 1}


def test_a_hundred_differences_take_a_second_sketch_and_one_question() -> None:
    held = many(5000)
    assert said(held, {**held, **many(100, "t")}) == {
        "Sketch": 1,
        "Symbols": 1,
        "Want": 1,
        "Entries": 1,
    }
    both = {"Sketch": 1, "Symbols": 1, "Want": 1, "Entries": 1, "Push": 1, "Merged": 1}
    assert said({**held, **many(100, "m")}, {**held, **many(100, "t")}) == both


def test_many_differences_descend_the_tree() -> None:
    held = many(2000)
    rounds = {"Sketch": 1, "Symbols": 1, "Compare": 7, "Differ": 7, "Leaves": 23, "Entries": 23}
    assert said(held, {**held, **many(5000, "t")}) == rounds


def test_without_a_sketch_the_tree_is_compared_level_by_level() -> None:
    held = many(2000)
    assert said({**held, "m": record(b"1")}, {**held, "t": record(b"2")}, ready=False) == {
        "Compare": 3,
        "Differ": 3,
        "Leaves": 1,
        "Entries": 1,
        "Push": 1,
        "Merged": 1,
    }


# -- the answering side --------------------------------------------------------------------------


def test_an_answer_that_was_cut_short_says_so_and_goes_on_where_it_stopped() -> None:
    theirs = store_of(many(60, size=200), levels=1)
    first = whole(
        answer_leaves(
            theirs, Leaves(5, 1, 1, pack("I", range(16)), pack("I", [0] * 16), b""), Room(BYTES_MAX)
        )
    )
    assert 0 < first.answered < 16
    rest = list(range(first.answered, 16))
    second = whole(
        answer_leaves(
            theirs, Leaves(5, 2, 1, pack("I", rest), pack("I", [0] * len(rest)), b""), Room(2**20)
        )
    )
    assert second.answered == len(rest)
    assert dict(first.entries) | dict(second.entries) == content(theirs)


def test_an_answer_takes_at_least_one_entry_however_long() -> None:
    theirs = store_of({"large": record(b"v" * 10_000), "other": record(b"v" * 10_000)}, levels=1)
    answer = whole(
        answer_leaves(
            theirs, Leaves(5, 1, 1, pack("I", range(16)), pack("I", [0] * 16), b""), Room(100)
        )
    )
    assert len(answer.entries) == 1


def test_a_fingerprint_that_has_gone_meanwhile_counts_as_answered() -> None:
    theirs = store_of({"k": record(b"new", ms=1)})
    gone = theirs.digest.fingerprint("k", record(b"old"))
    assert whole(answer_want(theirs, Want(5, 1, pack("Q", [gone])), Room(100))) == Entries(
        5, 1, 1, (), b""
    )


def test_a_sketch_that_is_not_ready_answers_without_symbols() -> None:
    mine, theirs = store_of(many(10)), store_of(many(20))
    unready(theirs)
    session = Session(mine, theirs)
    assert session.run()
    assert session.trace[:3] == ["Sketch", "Symbols", "Compare"]
    assert content(mine) == content(theirs)


U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
NUMBERS = (
    st.binary(max_size=40)
    | st.lists(U32, max_size=8).map(lambda n: pack("I", n))
    | st.lists(U64, max_size=8).map(lambda n: pack("Q", n))
)
SMALL_NUMBERS = st.lists(st.integers(0, 20), max_size=8).map(lambda n: pack("I", n))
QUESTIONS: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Compare,
        st.just(5),
        U32,
        LEVELS,
        st.integers(0, 4),
        NUMBERS | SMALL_NUMBERS,
        NUMBERS | st.just(bytes(128)),
        U64,
    ),
    st.builds(
        Leaves, st.just(5), U32, LEVELS, NUMBERS | SMALL_NUMBERS, NUMBERS | SMALL_NUMBERS, NUMBERS
    ),
    st.builds(Want, st.just(5), U32, NUMBERS),
    st.builds(
        Sketch,
        st.just(5),
        U32,
        LEVELS,
        st.binary(max_size=520),
        st.binary(max_size=60) | st.just(bytes(12 * 16)),
        U64,
    ),
)


@settings(max_examples=200)
@given(QUESTIONS, LEVELS)
def test_a_question_of_any_kind_is_answered_or_is_the_askers_fault_and_changes_nothing(
    asked: Message, levels: int
) -> None:
    theirs = store_of(many(30), levels)
    try:
        Session(store_of({}), theirs)._answer(asked)
    except RemoteError as fault:
        reason = fault.reason
        assert reason == "bad_message"
    assert content(theirs) == many(30)


@pytest.mark.parametrize(
    "asked",
    [
        Compare(5, 1, 4, 1, pack("I", [1]), bytes(128), 0),  # there is one bucket above level 1
        Compare(5, 1, 4, 1, pack("I", [0]), bytes(127), 0),
        Compare(5, 1, 4, 1, pack("I", [0]), bytes(120), 0),
        Compare(5, 1, 4, 1, b"\x00", bytes(128), 0),
        Leaves(5, 1, 1, pack("I", [16]), pack("I", [0]), b""),
        Leaves(5, 1, 1, pack("I", [0]), b"", b""),
        Leaves(5, 1, 1, pack("I", [0]), pack("I", [1]), b""),
        Leaves(5, 1, 4, pack("I", [0]), pack("I", [0]), b""),  # this tree has two levels
        Want(5, 1, b"\x00" * 9),
        Sketch(5, 1, 4, b"", b"", 0),
        Sketch(5, 1, 4, b"", b"\x00" * 13, 0),
    ],
    ids=str,
)
def test_a_question_that_makes_no_sense_is_refused(asked: Message) -> None:
    with pytest.raises(RemoteError) as caught:
        Session(store_of({}), store_of(many(3), levels=2))._answer(asked)
    assert caught.value.reason == "bad_message"


# -- hostile answers -----------------------------------------------------------------------------

PAIRS = st.lists(st.tuples(st.sampled_from(["k1", "x", "y"]), records), max_size=2).map(tuple)
ANSWERS: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Differ,
        st.just(5),
        st.integers(0, 6),
        LEVELS,
        NUMBERS | SMALL_NUMBERS,
        U64,
        st.sampled_from(SyncState),
    ),
    st.builds(Entries, st.just(5), st.integers(0, 6), st.integers(0, 3), PAIRS, NUMBERS),
    st.builds(Merged, st.just(5), st.integers(0, 6)),
    st.builds(
        Decoded,
        st.just(5),
        st.integers(0, 6),
        LEVELS,
        PAIRS,
        NUMBERS,
        NUMBERS,
        U64,
        st.sampled_from(SyncState),
    ),
    st.builds(
        Symbols,
        st.just(5),
        st.integers(0, 6),
        LEVELS,
        st.binary(max_size=60),
        U64,
        st.sampled_from(SyncState),
    ),
)


@settings(max_examples=300)
@given(st.lists(ANSWERS, max_size=8), st.booleans(), st.booleans())
def test_any_answers_are_taken_or_cut_the_session_and_ask_a_bounded_number_of_things(
    answers: list[Message], ready: bool, differs: bool
) -> None:
    session = Session(store_of(many(20)), store_of({}))
    if not ready:
        unready(session.mine)
    asked: list[Message] = [*session.exchange.open(differs, 0)]
    for answer in answers:
        try:
            asked += session._take(answer)
        except RemoteError as fault:
            reason = fault.reason
            assert reason in ("bad_message", "unasked_answer", "no_progress")
            break
        while session.exchange.eager:
            asked += session.exchange.send()
        assert len(session.exchange._unanswered) <= WINDOW
    assert len(asked) <= 16 * (len(answers) + 1)


def opened(mine: Store, *, ready: bool = False, differs: bool = True) -> tuple[Exchange, Message]:
    if not ready:
        unready(mine)
    exchange = Exchange(5, "b", address_of(1), mine, Room(BYTES_MAX))
    (question,) = exchange.open(differs, 0)
    return exchange, question


def test_an_answer_that_was_not_asked_for_cuts_the_session() -> None:
    exchange, asked = opened(store_of(many(5)))
    assert isinstance(asked, Compare)
    with pytest.raises(RemoteError, match="not asked"):
        exchange.differ(Differ(5, asked.request + 1, 4, b"", 0, SyncState.SETTLED))
    with pytest.raises(RemoteError, match="not asked"):
        exchange.merged(Merged(5, asked.request))
    exchange, asked = opened(store_of(many(5)))
    assert isinstance(asked, Compare)
    answer = Differ(5, asked.request, 4, pack("I", [3]), 0, SyncState.SETTLED)
    exchange.differ(answer)
    with pytest.raises(RemoteError, match="not asked"):
        exchange.differ(answer)


def test_a_difference_in_a_bucket_that_does_not_exist_cuts_the_session() -> None:
    exchange, asked = opened(store_of(many(5)))
    assert isinstance(asked, Compare)
    with pytest.raises(RemoteError, match="does not exist"):
        exchange.differ(
            Differ(5, asked.request, 4, pack("I", [16**asked.level]), 0, SyncState.SETTLED)
        )


def test_a_difference_in_a_bucket_that_was_not_compared_cuts_the_session() -> None:
    exchange, asked = opened(store_of(many(50)))
    assert isinstance(asked, Compare)
    (below,) = exchange.differ(Differ(5, asked.request, 4, pack("I", [3]), 0, SyncState.SETTLED))
    assert isinstance(below, Compare)
    assert unpack("I", below.parents).tolist() == [3]
    with pytest.raises(RemoteError):
        exchange.differ(Differ(5, below.request, 4, pack("I", [7 * 16]), 0, SyncState.SETTLED))


def leaves_asked(mine: Store) -> tuple[Exchange, Leaves]:
    exchange, asked = opened(mine)
    assert isinstance(asked, Compare)
    (leaves,) = exchange.differ(
        Differ(5, asked.request, asked.level, pack("I", range(256)), 0, SyncState.SETTLED)
    )
    assert isinstance(leaves, Leaves)
    return exchange, leaves


@pytest.mark.parametrize(
    ("merged", "repeats"), [(Kept(0, []), 0), (Kept(0, [5]), 1)], ids=["known", "refused"]
)
def test_a_cut_answer_that_brings_nothing_new_cuts_the_session(merged: Kept, repeats: int) -> None:
    exchange, leaves = leaves_asked(store_of(many(20), levels=2))
    for _ in range(repeats):
        answer = Entries(5, leaves.request, 0, (("k1", record(b"v")),), b"")
        (leaves,) = exchange.entries(answer, merged)  # type: ignore[assignment]
    with pytest.raises(RemoteError) as caught:
        exchange.entries(Entries(5, leaves.request, 0, (("k1", record(b"v")),), b""), merged)
    assert caught.value.reason == "no_progress"


def test_an_answer_to_want_takes_at_least_the_first_entry_or_cuts_the_session() -> None:
    exchange, sketch = opened(store_of(many(20)), ready=True)
    assert isinstance(sketch, Sketch)
    (want,) = exchange.decoded(
        Decoded(5, sketch.request, 4, (), pack("Q", [1, 2]), b"", 0, SyncState.SETTLED),
        Kept(0, []),
    )
    assert isinstance(want, Want)
    with pytest.raises(RemoteError) as caught:
        exchange.entries(Entries(5, want.request, 0, (("k1", record(b"v")),), b""), Kept(0, [9]))
    assert caught.value.reason == "no_progress"


@given(st.lists(U64, max_size=50))
def test_fingerprints_that_are_made_up_bring_nothing_out_of_the_store(wanted: list[int]) -> None:
    exchange, sketch = opened(store_of(many(20)), ready=True)
    assert isinstance(sketch, Sketch)
    asked = exchange.decoded(
        Decoded(5, sketch.request, 4, (), b"", pack("Q", wanted), 0, SyncState.SETTLED),
        Kept(0, []),
    )
    assert asked == []
    assert exchange.complete


@given(st.binary(max_size=40))
def test_numbers_are_whole_or_a_bad_message(data: bytes) -> None:
    for kind, width in (("I", 4), ("Q", 8)):
        if len(data) % width:
            with pytest.raises(RemoteError):
                unpack(kind, data)
        else:
            assert pack(kind, unpack(kind, data)) == data
