"""Answers that cost much are made in steps, and links take turns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.answers import (
    LOOKS_A_STEP,
    WANTED_MAX,
    answer_leaves,
    answer_sketch,
    answer_want,
)
from kvgossip.protocol.anti_entropy.backlog import BYTES_MAX, LINK_MAX, Backlog
from kvgossip.protocol.anti_entropy.responder import ASKED_BY_LINK_MAX, ASKERS_MAX
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.batching import Room, pack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Entries,
    Leaves,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.message import Message
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, about, address_of, at, make_replica, member, record, told

KEYS = 3000


def filled(levels: int = 4, keys: int = KEYS) -> Store:
    store = Store(DigestTree(levels, 7))
    for number in range(keys):
        store.merge(f"k{number}", record(b"v"))
    return store


def fingerprints(store: Store) -> list[int]:
    return store.digest.fingerprints(store.records())


def steps_of(work: Iterator[None]) -> int:
    return sum(1 for _ in work)


def test_every_bucket_that_is_equal_is_listed_in_steps() -> None:
    store = filled()
    buckets = range(65_536)
    listed: list[int] = []
    counts = []
    for bucket in buckets:
        found = store.fingerprints_in(4, bucket)
        listed += found
        counts.append(len(found))
    work = answer_leaves(
        store, Leaves(5, 1, 4, pack("I", buckets), pack("I", counts), pack("Q", listed)), Room(9999)
    )
    assert steps_of(work) >= 4


def test_a_bucket_is_listed_no_further_than_the_answer_has_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, seen = filled(), list[int]()
    parts = Store.parts_of

    def counted(self: Store, level: int, bucket: int) -> Iterator[list[tuple[str, bytes]]]:
        for part in parts(self, level, bucket):
            seen.append(len(part))
            yield part

    monkeypatch.setattr(Store, "parts_of", counted)
    answer_of(store, Leaves(5, 1, 1, pack("I", [3]), pack("I", [1]), pack("Q", [1])), 200)
    assert 0 < sum(seen) < KEYS / 32


def answer_of(store: Store, asked: Leaves | Want, room: int) -> Entries:
    work = (
        answer_leaves(store, asked, Room(room))
        if isinstance(asked, Leaves)
        else answer_want(store, asked, Room(room))
    )
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: Entries = end.value
            return found


def test_more_fingerprints_than_are_looked_for_at_once_are_asked_for_again() -> None:
    store = filled()
    asked = [*range(1, WANTED_MAX + 500), *fingerprints(store)[:3]]
    first = answer_of(store, Want(5, 1, pack("Q", asked)), 9999)
    assert (first.answered, first.entries) == (WANTED_MAX, ())
    second = answer_of(store, Want(5, 2, pack("Q", asked[first.answered :])), 9999)
    assert len(second.entries) == 3


def test_of_a_sketch_no_more_symbols_are_peeled_than_an_honest_one_may_send() -> None:
    mine, theirs = filled(keys=10), filled(keys=11)
    for store in (mine, theirs):
        while not store.sketch.idle:
            store.work_on_sketch()
    whole = mine.sketch.prefix(4096)
    answer = answer_sketch(theirs, Sketch(5, 1, 4, b"", whole, 0), Room(9999), 0, SyncState.SETTLED)
    assert not isinstance(answer, Symbols), "the first ones are enough"


# -- the queue -----------------------------------------------------------------------------------


def work(name: str, steps: int, done: list[str]) -> Iterator[None]:
    for _ in range(steps):
        done.append(name)
        yield
    done.append(name)


def test_the_first_step_is_done_at_once_and_links_take_turns() -> None:
    backlog, done = Backlog(), list[str]()
    backlog.begin(work("a", 2, done), address_of(1), 0)
    backlog.begin(work("b", 2, done), address_of(2), 0)
    backlog.begin(work("c", 0, done), address_of(2), 0)
    assert done == ["a", "b", "c"]
    while backlog.by_link:
        backlog.step()
    assert done == ["a", "b", "c", "a", "b", "a", "b"]


def test_a_link_has_so_many_questions_waiting_and_no_more() -> None:
    backlog = Backlog()
    for _ in range(LINK_MAX):
        backlog.begin(work("a", 2, []), address_of(1), 0)
    with pytest.raises(RemoteError, match="too many questions"):
        backlog.begin(work("a", 2, []), address_of(1), 0)
    backlog.begin(work("b", 2, []), address_of(2), 0)
    backlog.forget(address_of(1))
    backlog.begin(work("a", 2, []), address_of(1), 0)


def test_questions_that_wait_hold_on_to_so_many_bytes_and_no_more() -> None:
    backlog = Backlog()
    backlog.begin(work("a", 9, []), address_of(1), BYTES_MAX)
    with pytest.raises(RemoteError, match="too many questions"):
        backlog.begin(work("a", 9, []), address_of(1), 1)
    backlog.forget(address_of(1))
    assert backlog._bytes == 0
    assert not backlog.by_link


def test_a_replica_answers_a_question_for_everything_within_some_ticks() -> None:
    replica = make_replica("a", digest_levels=4)
    replica.pools.lan.membership.merge(member("b", 1), at())
    for number in range(200):
        replica.put(f"k{number}", b"v", at())
    unknown = range(1, 65_537)
    asked = Leaves(7, 2, 4, pack("I", range(65_536)), pack("I", [1] * 65_536), pack("Q", unknown))
    said: list[Message] = []
    data = LAN.frame([encode(about(replica, asked))], reliable=True)
    effects = replica.receive(data, address_of(1), at(), reliable=True)
    ticks = 0
    while not any(isinstance(each, Entries) for each in said):
        said += [message for _, message in told(LAN, effects) if isinstance(message, Message)]
        deadline_s = replica.deadline()
        assert deadline_s is not None
        effects = replica.tick(at(ticks / 1000))
        ticks += 1
        assert ticks < 1000
    assert ticks > 65_536 // LOOKS_A_STEP


def test_who_begins_one_exchange_after_another_does_not_push_out_those_of_others() -> None:
    replica = make_replica("a")
    for place, name in ((1, "b"), (2, "c")):
        replica.pools.lan.membership.merge(member(name, place), at())
    replica._drain(at())  # it is of a cluster now, and places its keys by its seed
    responder = replica.pools.lan.exchanges.responder

    def begin(number: int, name: str, place: int) -> None:
        asked = Compare(number, 1, 4, 0, b"", bytes(8), 0, name)
        data = LAN.frame([encode(about(replica, asked))], reliable=True)
        replica.receive(data, address_of(place), at(), reliable=True)

    begin(1, "b", 1)
    for number in range(2, 3 * ASKERS_MAX):
        begin(number, "c", 2)
    assert replica.store.digest.numbered(1) in responder._asked
    assert len(responder._asked) == 1 + ASKED_BY_LINK_MAX
