"""Inspections: which keys differ from a member, found out and not repaired."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from msgspec.structs import replace

from kvgossip.config import Config
from kvgossip.errors import NoAnswerError, NotFoundError, OverloadedError, RemoteError
from kvgossip.protocol.anti_entropy.answers import (
    answer_compare,
    answer_leaves,
    answer_sketch,
    answer_want,
)
from kvgossip.protocol.anti_entropy.inspection import BYTES_MAX, Answer, Inspection, Sought
from kvgossip.protocol.anti_entropy.inspections import INSPECTIONS_MAX
from kvgossip.protocol.anti_entropy.objections import Objections
from kvgossip.protocol.anti_entropy.questions import Question, Questions
from kvgossip.protocol.anti_entropy.session_context import SessionContext
from kvgossip.protocol.effect import Differing, Inspected
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.batching import Room, pack
from kvgossip.protocol.wire.exchange_messages import Compare, Entries, Leaves, Sketch, Want
from kvgossip.protocol.wire.message import Notice, Precision
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import WALL_MS, Network, record

ROOM = Room(128 * 1024)
OLD, NEW = record(b"old", 1), record(b"new", 2)
INSPECTED = 7
ANY = Sought()


def store_of(content: dict[str, bytes], levels: int = 4) -> Store:
    store = Store(DigestTree(levels, seed=7))
    store.load(list(content.items()))
    return store


def ready(store: Store) -> Store:
    while not store.sketch.idle:
        store.work_on_sketch()
    return store


def answer_of(store: Store, question: Question, room: Room) -> Answer:
    if isinstance(question, Sketch):
        return answer_sketch(store, question, room, 0, SyncState.SETTLED)
    if isinstance(question, Compare):
        return answer_compare(store, question, 0, SyncState.SETTLED)
    if isinstance(question, Leaves):
        steps = answer_leaves(store, question, room)
    else:
        assert isinstance(question, Want)
        steps = answer_want(store, question, room)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: Entries = end.value
            return answer


def inspect(
    here: Store, there: Store, sought: Sought = ANY, room: Room = ROOM
) -> tuple[Inspection, Counter[type]]:
    """To its end, with how often each question was asked; both stores stay as they are."""
    questions = Questions(here.digest.numbered(1), here, ROOM, SessionContext(()))
    inspection, asked = Inspection(here, questions, sought), Counter[type]()
    roots = here.digest.root, there.digest.root
    steps = list(inspection.start())
    while steps and (question := steps[-1]) is not None:
        asked[type(question)] += 1
        answer = answer_of(there, question, room)
        encode(answer)
        steps = list(inspection.hear(answer))
    assert (here.digest.root, there.digest.root) == roots
    return inspection, asked


COMMON = {f"c{number}": OLD for number in range(300)}
HERE = COMMON | {"both": NEW, "mine": OLD, "dead": record(None, 3)}
THERE = COMMON | {"both": OLD, "dead": OLD, "yours": NEW}
FOUND = (
    Differing("both", NEW, OLD),
    Differing("dead", record(None, 3), OLD),
    Differing("mine", OLD, None),
    Differing("yours", None, NEW),
)


@pytest.mark.parametrize("levels", [(4, 4), (4, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("sketches", [True, False])
def test_it_says_what_each_of_the_two_has_whether_by_sketch_or_by_tree(
    levels: tuple[int, int], sketches: bool
) -> None:
    here, there = store_of(HERE, levels[0]), store_of(THERE, levels[1])
    if sketches:
        ready(here), ready(there)
    inspection, asked = inspect(here, there)
    assert inspection.found() == FOUND
    assert (inspection.keys, inspection.precision, inspection.whole) == (4, Precision.EXACT, True)
    assert (Sketch in asked) is sketches


@pytest.mark.parametrize("sketches", [True, False])
def test_equal_stores_differ_by_nothing_after_one_question(sketches: bool) -> None:
    here, there = store_of(COMMON), store_of(COMMON)
    if sketches:
        ready(here), ready(there)
    inspection, asked = inspect(here, there)
    assert (inspection.found(), inspection.keys, inspection.whole) == ((), 0, True)
    assert asked.total() == 1


@pytest.mark.parametrize("seed", range(8))
def test_whatever_differs_it_lists_nothing_else_and_all_of_it_where_it_says_so(seed: int) -> None:
    rng = Random(seed)
    here, there = dict[str, bytes](), dict[str, bytes]()
    odds = rng.choice([0.02, 0.5, 1.0])
    for number in range(rng.choice([30, 800])):
        key, same = f"{rng.choice('ab')}/{number}", record(rng.randbytes(rng.randrange(300)), 1)
        for side in (here, there):
            side[key] = same
        if rng.random() < odds:
            side = rng.choice([here, there])
            side[key] = record(rng.choice([None, b"new"]), 2)
            if rng.random() < 0.4:
                del side[key]
    stores = [store_of(side, rng.randrange(1, 5)) for side in (here, there)]
    if rng.random() < 0.5:
        for store in stores:
            ready(store)
    truth = [
        Differing(key, here.get(key), there.get(key))
        for key in sorted(here | there)
        if here.get(key) != there.get(key)
    ]
    for sought in (Sought(limit=1000), Sought("a/", 20), Sought(key="a/7")):
        wanted = [
            each
            for each in truth
            if (each.key == sought.key if sought.key else each.key.startswith(sought.prefix))
        ]
        inspection, _ = inspect(stores[0], stores[1], sought, Room(rng.choice([2000, 128 * 1024])))
        found = inspection.found()
        assert set(found) <= set(wanted)
        assert len(found) == min(len(wanted), sought.limit)
        if inspection.whole and sought.key is None:
            assert (inspection.keys, inspection.matching) == (len(truth), len(wanted))


@pytest.mark.parametrize("keys", [200, 6000])
@pytest.mark.parametrize("mine", [True, False])
def test_of_many_it_lists_some_says_how_many_there_are_and_asks_little(
    keys: int, mine: bool
) -> None:
    more = COMMON | {f"k{number}": OLD for number in range(keys)}
    stores = [ready(store_of(more)), ready(store_of(COMMON))]
    here, there = stores if mine else reversed(stores)
    inspection, asked = inspect(here, there, Sought(limit=10))
    assert len(inspection.found()) == 10
    assert inspection.matching > 10
    # what only this side has need not be asked for
    assert inspection.whole is (mine and keys == 200)
    if keys == 200:
        assert (inspection.keys, inspection.precision) == (keys, Precision.EXACT)
    else:
        assert inspection.precision is Precision.ESTIMATE
        assert inspection.keys == pytest.approx(keys, rel=0.2)
    assert asked.total() <= 8


def test_a_prefix_counts_what_was_sought_and_one_key_is_found_among_many() -> None:
    more = COMMON | {f"k{number}": OLD for number in range(6000)}
    here, there = store_of(COMMON | {"a/1": OLD}), store_of(more | {"a/1": NEW})
    inspection, _ = inspect(here, there, Sought(key="a/1"))
    assert inspection.found() == (Differing("a/1", OLD, NEW),)
    inspection, _ = inspect(here, there, Sought(key="c1"))
    assert (inspection.found(), inspection.whole) == ((), True)
    inspection, _ = inspect(here, there, Sought(key="k5"))
    assert inspection.found() == (Differing("k5", None, OLD),)
    few = ready(store_of(COMMON | {"a/1": NEW, "a/2": NEW, "b": NEW}))
    inspection, _ = inspect(ready(here), few, Sought("a/"))
    assert [each.key for each in inspection.found()] == ["a/1", "a/2"]
    assert (inspection.keys, inspection.matching, inspection.whole) == (3, 2, True)


@pytest.mark.parametrize("sketches", [True, False])
def test_it_takes_no_more_bytes_than_it_may_and_names_what_is_too_long(sketches: bool) -> None:
    large = record(bytes(2**20), 5)
    here, there = store_of(COMMON), store_of(COMMON | {f"l{number}": large for number in range(20)})
    if sketches:
        ready(here), ready(there)
    inspection, _ = inspect(here, there)
    assert not inspection.whole
    came = [each.there for each in inspection.found() if isinstance(each.there, bytes)]
    assert BYTES_MAX <= sum(map(len, came)) <= BYTES_MAX + 2**20
    inspection, _ = inspect(here, there, room=Room(128 * 1024, 2**19))
    assert all(isinstance(each.there, Notice) for each in inspection.found())
    assert (len(inspection.found()), inspection.whole) == (20, True)


def test_answers_that_make_no_sense_are_refused_and_records_that_cannot_be_read_are_counted() -> (
    None
):
    here = store_of(COMMON)
    questions = Questions(here.digest.numbered(1), here, ROOM, SessionContext(()))
    inspection = Inspection(here, questions, Sought())
    (question,) = inspection.start()
    assert isinstance(question, Compare)
    answer = answer_compare(store_of(THERE), question, 0, SyncState.SETTLED)
    with pytest.raises(RemoteError, match="not asked"):
        inspection.hear(replace(answer, request=9))
    entries = Entries(question.exchange, question.request, 1, (), b"")
    with pytest.raises(RemoteError, match="not asked"):
        inspection.hear(entries)
    with pytest.raises(RemoteError, match="was not compared"):
        list(inspection.hear(replace(answer, differing=pack("I", [70_000]))))

    inspection = Inspection(here, questions, Sought())
    (question,) = inspection.start()
    while isinstance(question, Compare):
        (question,) = inspection.hear(answer_of(store_of(THERE), question, ROOM))
    assert isinstance(question, Leaves)
    bad = ("x", b"\xff" * 30), ("", OLD), ("y", OLD)
    entries = Entries(question.exchange, question.request, len(question.buckets) // 4, bad, b"")
    assert list(inspection.hear(entries)) == []
    assert [each.key for each in inspection.found()] == ["y"]
    assert inspection.unreadable == 2


# -- between replicas ------------------------------------------------------------------------------


def apart() -> Network:
    """Two settled nodes that were cut, wrote on both sides, and hear each other over links alone,
    but do not exchange yet."""
    network = Network()
    network.cluster("a b", rumor_settling_s=600.0, push_pull_interval_s=600.0)
    network.put("a", "k", b"common")
    network.run(3.0)
    network.passes = lambda frm, to, reliable: False
    network.put("a", "k", b"of a")
    network.put("b", "only b", b"v")
    network.run(0.05)
    network.passes = lambda frm, to, reliable: reliable
    return network


def end_of(network: Network, name: str) -> Inspected:
    (inspected,) = [each for each in network.effects[name] if isinstance(each, Inspected)]
    return inspected


def test_a_member_is_asked_over_a_link_and_neither_side_changes() -> None:
    network = apart()
    a, b = network.replicas["a"], network.replicas["b"]
    roots = a.store.digest.root, b.store.digest.root
    network.perform("a", a.compare("b", network.now("a"), ANY, INSPECTED))
    network.run(0.5)
    inspected = end_of(network, "a")
    assert (inspected.ticket, inspected.peer.name, inspected.fault) == (INSPECTED, "b", "")
    assert [(each.key, each.there is None) for each in inspected.found] == [
        ("k", False),
        ("only b", False),
    ]
    assert (inspected.keys, inspected.whole) == (2, True)
    assert (a.store.digest.root, b.store.digest.root) == roots
    network.perform("a", a.compare("b", network.now("a")))
    network.until(network.converged, seconds=5.0)


def test_a_member_that_cannot_be_asked_is_an_error_and_a_link_that_breaks_an_end() -> None:
    network = apart()
    a = network.replicas["a"]
    with pytest.raises(NotFoundError, match="no member is named 'x'"):
        a.compare("x", network.now("a"), ANY, INSPECTED)
    with pytest.raises(NotFoundError, match="this node itself"):
        a.compare("a", network.now("a"))
    network.passes = lambda frm, to, reliable: False
    for ticket in range(INSPECTIONS_MAX):
        network.perform("a", a.compare("b", network.now("a"), ANY, ticket))
    with pytest.raises(OverloadedError):
        a.compare("b", network.now("a"), ANY, INSPECTED)
    for ticket in range(1, INSPECTIONS_MAX):
        network.perform("a", a.cancel(ticket, network.now("a")))
    address = a.pools.way_to("b").address
    network.perform("a", a.unreachable(address, network.now("a")))
    assert "the link to it broke" in end_of(network, "a").fault
    network.perform("a", a.block("b", network.now("a")))
    with pytest.raises(NoAnswerError, match="blocks 'b'"):
        a.compare("b", network.now("a"), ANY, INSPECTED)


# -- why it stays so -------------------------------------------------------------------------------


def test_it_is_known_why_one_side_does_not_take_what_the_other_one_has() -> None:
    network = Network()
    a, _ = network.cluster("a b", clock_drift_max_s=5.0)
    network.put("a", "gone", b"v")
    network.run(5.0)
    objections = Objections(a.config, a.clock_guard, a.tombstones)
    now, there = network.now("a"), a.pools.lan.membership.members["b"]
    wall_ms = now.wall_ms - WALL_MS
    assert objections.here("k", record(b"v", wall_ms), now) is None
    assert objections.there(record(b"v", wall_ms), there, now) is None
    ahead = record(b"v", wall_ms + 60_000)
    codes = [objections.here("k", ahead, now), objections.there(ahead, there, now)]
    assert [each and each.code for each in codes] == ["clock_ahead", "clock_behind_there"]
    assert codes[0] is not None
    assert codes[0].text == "its version is 60.0 s ahead of this node's clock"
    notice = Notice("k", 5, 1, 2 * Config().value_bytes_max)
    long_one = objections.here("k", notice, now)
    assert long_one is not None
    assert long_one.code == "too_long"
    long_one = objections.there(record(bytes(2 * there.frame_bytes_max), wall_ms), there, now)
    assert long_one is not None
    assert long_one.code == "too_long_there"
    old = a.store.record("gone")
    assert old is not None
    network.delete("a", "gone")
    network.until(lambda: a.store.record("gone") is None, seconds=3600.0)
    collected = objections.here("gone", old, network.now("a"))
    assert collected is not None
    assert collected.code == "collected"
