"""Batches: all of it or nothing, at whoever hears of it."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from kvgossip.errors import BadKeyError, ClockAheadError, LocalError, ValueTooLargeError
from kvgossip.protocol.merging import Merging, Origin
from kvgossip.protocol.model.entry import is_dead, version_of
from kvgossip.protocol.model.member import life_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.rumors.batches import KEPT_BYTES_MAX, KEPT_MAX, Batches, key_of
from kvgossip.protocol.rumors.fetching import FETCH_BYTES_MAX
from kvgossip.protocol.wire.message import Bundle, Feedback, Fetch, Gossip, Notice, Rumor
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, Network, address_of, at, changed, make_replica, record
from tests.protocol.rumors.test_mongering import of, replica_with

Batch = tuple[tuple[str, bytes], ...]


def written(replica: Replica, *keys: str, value: bytes = b"v", seconds: float = 0.0) -> Batch:
    effects = replica.batch([Writing(key, value) for key in keys], at(seconds)).effects
    return tuple((effect.key, effect.new_record) for effect in changed(effects))


def packet(*units: Bundle | Rumor | Notice, sequence: int = 9, sender: str = "b") -> bytes:
    return LAN.frame(map(encode, [Gossip(sequence, sender), *units]))


# -- writing -------------------------------------------------------------------------------------


def test_a_batch_is_written_in_one_input_with_consecutive_timestamps() -> None:
    replica = make_replica("a")
    replica.put("old", b"1", at())
    effects = replica.batch(
        [
            Writing("a", b"1", "text/plain"),
            Writing("old", None),
            Writing("gone", None),
            Writing("b", b"2"),
        ],
        at(),
    ).effects
    news = [effect.new for effect in changed(effects)]
    assert [(entry.key, entry.value, entry.content_type) for entry in news] == [
        ("a", b"1", "text/plain"),
        ("old", None, None),
        ("b", b"2", None),
    ]
    stamps = [entry.version.timestamp for entry in news]
    assert stamps == [stamps[0], stamps[0] + 1, stamps[0] + 2]
    assert replica.store.get("old") is None
    assert replica.batch([Writing("gone", None)], at()).effects == []


@pytest.mark.parametrize(
    ("writes", "error"),
    [
        ([], LocalError),
        ([Writing(f"k{number}", b"") for number in range(257)], LocalError),
        ([Writing("k", b"1"), Writing("k", None)], LocalError),
        ([Writing("k", b"1"), Writing("../k", b"1")], BadKeyError),
        ([Writing("k", b"1"), Writing("l", b"1", "\n")], LocalError),
        ([Writing("k", b"1"), Writing("l", b"1", ttl_s=0.0)], LocalError),
        ([Writing("k", b"1"), Writing("l", b"1", flags=-1)], LocalError),
        ([Writing("k", b"1"), Writing("l", bytes(1024 * 1024 + 1))], ValueTooLargeError),
        ([Writing("k", bytes(200_000)), Writing("l", bytes(200_000))], ValueTooLargeError),
    ],
)
def test_a_batch_of_which_a_part_is_refused_is_refused_as_a_whole(
    writes: list[Writing], error: type[LocalError]
) -> None:
    replica = make_replica("a")
    with pytest.raises(error):
        replica.batch(writes, at())
    assert len(replica.store) == 0
    for number in range(3):
        replica.clock_guard.saw(f"p{number}", at().wall_ms - 60_000, at().monotonic_s, at())
    with pytest.raises(ClockAheadError):
        replica.batch([Writing("k", b"1"), Writing("l", b"1")], at())
    assert len(replica.store) == 0


# -- telling -------------------------------------------------------------------------------------


def test_a_batch_is_one_unit_of_a_packet_and_one_of_a_single_write_is_a_rumor() -> None:
    replica = replica_with("b", "c")
    batch = written(replica, "k", "l")
    packets = of(Bundle, replica.tick(at()))
    assert sorted(packets, key=lambda sent: sent[0]) == [
        (address_of(1), Bundle(batch)),
        (address_of(2), Bundle(batch)),
    ]
    written(replica, "m")
    assert {rumor.key for _, rumor in of(Rumor, replica.tick(at()))} == {"m"}


def test_a_batch_of_one_may_be_as_long_as_a_put_and_one_of_two_may_not() -> None:
    replica = make_replica("a")
    long = b"x" * (replica.config.message_bytes_max + 1)
    assert [key for key, _ in written(replica, "k", value=long)] == ["k"]
    with pytest.raises(ValueTooLargeError, match="the batch has"):
        replica.batch([Writing("k", long), Writing("l", b"")], at())
    with pytest.raises(ValueTooLargeError, match="the value has"):
        replica.batch([Writing("k", b"x" * (replica.config.value_bytes_max + 1))], at())


def test_a_bundle_is_merged_in_one_input_passed_on_and_answered_with_one_bit() -> None:
    writer, replica = make_replica("w"), replica_with("b", "c")
    batch = written(writer, "k", "l", "m")
    effects = replica.receive(packet(Bundle(batch)), address_of(1), at())
    assert [effect.key for effect in changed(effects)] == ["k", "l", "m"]
    assert of(Feedback, effects) == [
        (address_of(1), Feedback(9, b"\x00", life=life_of(replica.site)))
    ]
    assert of(Bundle, replica.tick(at())) == [(address_of(2), Bundle(batch))]
    again = replica.receive(packet(Bundle(batch)), address_of(1), at())
    assert (changed(again), of(Feedback, again)) == (
        [],
        [(address_of(1), Feedback(9, b"\x01", life=life_of(replica.site)))],
    )


def test_a_bundle_of_which_a_part_cannot_be_accepted_is_refused_as_a_whole() -> None:
    replica = replica_with("b")
    for bad in (("../k", record(b"v")), ("k", b"\x00" * 17), ("k", record(b"v", ms=3_600_000))):
        effects = replica.receive(
            packet(Bundle((("fine", record(b"v", 1)), bad))), address_of(1), at()
        )
        assert changed(effects) == []
        assert of(Feedback, effects) == [
            (address_of(1), Feedback(9, b"\x01", life=life_of(replica.site)))
        ]
    assert len(replica.store) == 0


def test_what_is_superseded_stays_and_the_rest_of_a_bundle_is_merged() -> None:
    writer, replica = make_replica("w"), replica_with("b")
    batch = written(writer, "k", "l")
    replica.receive(packet(Rumor("k", record(b"newer", 5000))), address_of(1), at())
    replica.receive(packet(Bundle(batch)), address_of(1), at())
    assert (replica.store.value("k"), replica.store.value("l")) == (b"newer", b"v")


def test_a_batch_too_large_for_a_datagram_is_noticed_fetched_and_merged_at_once() -> None:
    network = Network()
    a, b, _ = network.cluster("a b c")
    network.perform(
        "a",
        a.batch(
            [Writing(f"k{number}", bytes(1000)) for number in range(100)], network.now("a")
        ).effects,
    )
    kinds: list[str] = []
    network.watch = lambda frm, to, sent: kinds.extend(
        type(message).__name__ for message in LAN.open(sent.data, reliable=sent.reliable).messages
    )
    sizes: list[int] = []
    network.until(lambda: bool(sizes.append(len(b.store))) or network.converged())  # type: ignore[func-returns-value]
    assert set(sizes) == {0, 100}
    assert {"Notice", "Fetch", "Bundle"} <= set(kinds)
    assert "Rumor" not in kinds


def test_bundles_that_are_kept_for_others_are_bounded() -> None:
    batches = Batches(10.0)
    for number in range(KEPT_MAX + 10):
        batches.keep((("k", record(b"v", number)), ("l", record(b"v", number))))
    assert key_of((("k", record(b"v", 0)),)) not in batches
    assert batches.get(key_of((("k", record(b"v", KEPT_MAX)),))) is not None
    batches.keep((("k", record(bytes(KEPT_BYTES_MAX + 1), 10_000)),))
    assert batches._bytes == 0


def test_bundles_are_kept_for_as_long_as_somebody_may_fetch_them_and_not_for_ever() -> None:
    batches, key = Batches(10.0), key_of((("k", record(b"v", 1)),))
    batches.age(at(0.0))
    batches.keep((("k", record(b"v", 1)), ("l", record(b"v", 1))))
    for s, kept in ((9.0, True), (10.0, True), (19.0, True), (20.0, False)):
        batches.age(at(s))
        assert (key in batches) == kept
    assert batches._bytes == 0


def test_hostile_bundles_and_fetches_cost_nothing() -> None:
    replica = replica_with("b")
    replica.receive(LAN.frame([encode(Bundle((("k", record(b"v")),)))]), address_of(1), at())
    assert replica.store.value("k") == b"v"
    fetched = replica.receive(
        LAN.frame([encode(Fetch(("/nothing", "k")))]), address_of(1), at(), reliable=True
    )
    assert of(Bundle, fetched) == []
    replica.receive(packet(Notice("/x", 1, 1, 10)), address_of(1), at())
    assert replica.store.visible("/x") is None


def test_no_more_batches_are_sent_at_once_than_an_honest_node_asks_for() -> None:
    replica, size = replica_with("b"), 200_000
    kept: list[Batch] = [((f"k{number}", record(bytes(size), number)),) for number in range(64)]
    for batch in kept:
        replica.batches.keep(batch)
    asked = LAN.frame([encode(Fetch(tuple(map(key_of, kept))))])
    sent = of(Bundle, replica.receive(asked, address_of(1), at(), reliable=True))
    assert [bundle.entries for _, bundle in sent] == kept[: FETCH_BYTES_MAX // size]
    # the first one goes however long it is, as a long entry does
    alone = LAN.frame([encode(Fetch((key_of(kept[9]),)))])
    ((_, bundle),) = of(Bundle, replica.receive(alone, address_of(1), at(), reliable=True))
    assert bundle.entries == kept[9]


# -- all or nothing, under loss ------------------------------------------------------------------


def shows_a_part(replica: Replica, batch: Batch) -> bool:
    """Whether this replica shows a write of the batch, and under another key something older."""
    held = [replica.store.visible(key) for key, _ in batch]
    shown = any(mine == theirs for mine, (_, theirs) in zip(held, batch, strict=True))
    older = any(
        mine is None or version_of(mine) < version_of(theirs)
        for mine, (_, theirs) in zip(held, batch, strict=True)
    )
    return shown and older


def run(network: Network, names: list[str], seed: int) -> tuple[list[Batch], int]:
    """Batches and single writes that overlap, from everywhere, under loss; after every input of a
    node it is asked for parts."""
    rng, parts = Random(seed), 0
    batches: list[Batch] = []
    perform = network.perform

    def performing(name: str, effects: list) -> None:  # type: ignore[type-arg]
        nonlocal parts
        perform(name, effects)
        keys = {effect.key for effect in changed(effects)}
        parts += sum(
            shows_a_part(network.replicas[name], batch)
            for batch in batches
            if not keys.isdisjoint(key for key, _ in batch)
        )

    network.perform = performing  # type: ignore[method-assign]
    network.passes = lambda frm, to, reliable: reliable or rng.random() > 0.3
    for _ in range(60):
        name = rng.choice(names)
        keys = rng.sample([f"k{number}" for number in range(12)], rng.randint(1, 5))
        value = rng.randbytes(rng.choice((5, 5, 1200)))
        if rng.random() < 0.7:
            effects = (
                network.replicas[name]
                .batch(
                    [Writing(key, value if rng.random() < 0.8 else None) for key in keys],
                    network.now(name),
                )
                .effects
            )
            batch = tuple((effect.key, effect.new_record) for effect in changed(effects))
            if len(batch) > 1:
                batches.append(batch)
            network.perform(name, effects)
        else:
            network.put(name, keys[0], value)
        network.run(rng.random() * 0.2)
    return batches, parts


@pytest.mark.parametrize("seed", range(4))
def test_whoever_hears_of_a_batch_by_rumor_shows_all_of_it_or_nothing(seed: int) -> None:
    network = Network()
    names = list("abcdefg")
    network.cluster(" ".join(names), direct_fanout=3)
    network.run(5.0)
    for replica in network.replicas.values():
        # they have joined by an exchange; from now on rumors alone carry
        replica.pools.lan.exchanges.responder._config = make_replica("x", anti_entropy=False).config
    batches, parts = run(network, names, seed)
    assert len(batches) > 20
    assert any(is_dead(entry) for batch in batches for _, entry in batch)
    assert parts == 0


def test_the_check_for_parts_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(
        merging: Merging,
        entries: Batch,
        offered: Iterable[tuple[str, bytes]],
        now: Now,
        origin: Origin,
    ) -> bool:
        news = [merging.take(key, entry, now, origin) for key, entry in offered]
        return any(news)

    monkeypatch.setattr(Merging, "take_batch", apart)
    network = Network()
    network.cluster("a b c d e f g", direct_fanout=3)
    assert run(network, list("abcdefg"), 2)[1] > 0


def test_with_repair_all_nodes_end_with_every_batch_whole() -> None:
    network = Network()
    names = list("abcdefg")
    network.cluster(" ".join(names), direct_fanout=3)
    batches, _ = run(network, names, 9)
    network.until(network.converged)
    assert not any(
        shows_a_part(replica, batch) for replica in network.replicas.values() for batch in batches
    )


def test_a_batch_crosses_datacenters_as_one() -> None:
    network = Network()
    p = network.add("p1", datacenter="paris", gateway=True)
    network.add("t1", datacenter="tokyo", gateway=True, join_wan=("10.0.0.1:7483",))
    t2 = network.add("t2", datacenter="tokyo", join=("10.0.0.2:7481",))
    network.until(lambda: all(replica.settled for replica in network.replicas.values()))
    network.run(10.0)
    network.perform(
        "p1",
        p.batch([Writing(f"k{number}", b"v") for number in range(5)], network.now("p1")).effects,
    )
    sizes: list[int] = []
    network.until(lambda: bool(sizes.append(len(t2.store))) or len(t2.store) == 5)  # type: ignore[func-returns-value]
    assert set(sizes) == {0, 5}
