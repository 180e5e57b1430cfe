"""What the other side of an exchange says counts for that exchange, and of a member, alone."""

from __future__ import annotations

import pytest

from kvgossip.config import Address
from kvgossip.protocol.acks.write_concern import parse_write_concern
from kvgossip.protocol.doctor import diagnosis
from kvgossip.protocol.effect import AckReceived, Quarantined, Send, Surveyed
from kvgossip.protocol.model.hlc import timestamp_of
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.tombstones.context_difference import ContextDifference
from kvgossip.protocol.tombstones.context_difference import encode as encoded
from kvgossip.protocol.tombstones.drops import DOUBT_S
from kvgossip.protocol.tombstones.fact import Kind, fact_of
from kvgossip.protocol.wire.batching import pack
from kvgossip.protocol.wire.exchange_messages import Compare, Conclude, Leaves, Merged, Push
from kvgossip.protocol.wire.message import (
    Ack,
    Bundle,
    Confirm,
    Enquire,
    Feedback,
    Gossip,
    Measure,
    Measured,
    Message,
    Ping,
    PingRequest,
    Precision,
    Rumor,
)
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, STRANGER, Network, about, logs, told

EXCHANGE = 9


def cluster(**config: object) -> tuple[Network, Replica]:
    net = Network()
    net.cluster("a b c", **config)
    for number in range(20):
        net.put("a", f"k{number}", b"v")
    net.until(net.converged)
    net.run(5)
    return net, net.replicas["a"]


def hear(
    net: Network,
    said: Message | list[Message],
    source: Address = STRANGER,
    *,
    reliable: bool = True,
) -> list[Message]:
    """What a is sent, and what it answers there."""
    a, messages = net.replicas["a"], said if isinstance(said, list) else [said]
    messages = [about(a, each) for each in messages]
    frame = LAN.frame(map(encode, messages), reliable=reliable)
    effects = a.receive(frame, source, net.now("a"), reliable=reliable)
    net.perform("a", effects)
    return [answer for to, answer in told(LAN, effects) if to == source]  # type: ignore[misc]


def link_of(net: Network, name: str) -> Address:
    """The end of a link of that member's host."""
    return net.replicas[name].member.address._replace(port=40_000)


def first(sender: str, exchange: int = EXCHANGE) -> Compare:
    return Compare(
        exchange=exchange,
        request=1,
        levels=2,
        level=0,
        parents=b"",
        fingerprints=bytes(8),
        members=0,
        sender=sender,
    )


def pull(buckets: range, exchange: int = EXCHANGE) -> Leaves:
    return Leaves(
        exchange=exchange,
        request=2,
        level=1,
        buckets=pack("I", buckets),
        counts=pack("I", [0] * len(buckets)),
        fingerprints=b"",
    )


def conclude(a: Replica, collected: list[int], context: bytes = b"") -> Conclude:
    return Conclude(
        exchange=EXCHANGE,
        request=3,
        site=a.site,
        context=context,
        collected=pack("Q", collected),
    )


def fingerprints(a: Replica) -> list[int]:
    return a.store.digest.fingerprints(a.store.records())


def quarantined(net: Network) -> list[str]:
    return [effect.key for effect in net.effects["a"] if isinstance(effect, Quarantined)]


def test_a_conclude_of_an_exchange_that_nobody_began_takes_nothing_out() -> None:
    net, a = cluster()
    hear(net, conclude(a, fingerprints(a)))
    assert (len(a.store), quarantined(net)) == (20, [])
    assert a.statistics()["concludes_refused"] == 1


@pytest.mark.parametrize("sender", ["", "stranger"])
def test_nor_does_one_of_a_stranger(sender: str) -> None:
    net, a = cluster()
    hear(net, first(sender))
    hear(net, pull(range(16)))
    hear(net, conclude(a, fingerprints(a)))
    assert (len(a.store), quarantined(net)) == (20, [])


def test_nor_one_that_comes_over_another_link() -> None:
    net, a = cluster()
    hear(net, first("b"))
    hear(net, pull(range(16)))
    hear(net, conclude(a, fingerprints(a)), STRANGER._replace(port=10))
    assert (len(a.store), quarantined(net)) == (20, [])


def test_nor_one_over_a_link_of_another_host_that_calls_itself_a_member() -> None:
    net, a = cluster()
    hear(net, first("b"))
    hear(net, pull(range(16)))
    hear(net, conclude(a, fingerprints(a)))
    assert (len(a.store), quarantined(net)) == (20, [])
    assert a.statistics()["concludes_refused"] == 1


def test_a_conclude_takes_out_what_its_exchange_offered_alone_and_one_warning_says_so() -> None:
    net, a = cluster()
    link = link_of(net, "b")
    hear(net, first("b"), link)
    hear(net, pull(range(8)), link)
    before = len(net.effects["a"])
    offered = [each for each in fingerprints(a) if a.store.digest.bucket_of(1, each) < 8]
    assert 0 < len(offered) < 20
    hear(net, conclude(a, fingerprints(a)), link)
    assert len(quarantined(net)) == len(offered)
    warnings = [line for line in logs(net.effects["a"][before:]) if "quarantine" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{len(offered)} live values that 'b' says")


def test_what_a_member_says_was_collected_is_refused_and_taken_again_if_others_still_offer_it() -> (
    None
):
    net, a = cluster()
    link = link_of(net, "b")
    hear(net, first("b"), link)
    hear(net, pull(range(16)), link)
    hear(net, conclude(a, fingerprints(a)), link)
    assert len(a.store) == 0
    net.until(net.converged)
    assert len(a.store) == 20, "nobody else was made to drop it, and it comes back"
    assert not [e for name in "bc" for e in net.effects[name] if isinstance(e, Quarantined)]


def test_what_was_deleted_after_that_is_not_taken_again() -> None:
    """Though the tombstone has gone by then, and a node that was away still offers the value."""
    net, a = cluster(push_pull_interval_s=1.0, forget_after_s=60.0)
    b, c = link_of(net, "b"), net.replicas["c"].member.address
    value = a.store["k0"]
    hear(net, first("b"), b)
    hear(net, pull(range(16)), b)
    hear(net, conclude(a, fingerprints(a)), b)
    offer = [Gossip(sequence=1, sender="c"), Rumor("k0", value)]
    hear(net, offer, c, reliable=False)
    net.delete("c", "k0")
    net.until(lambda: a.store.record("k0") is not None)
    waited_s = net.until(lambda: a.store.record("k0") is None)
    net.run(DOUBT_S + 1 - waited_s)
    hear(net, offer, c, reliable=False)
    assert a.store.record("k0") is None


def test_a_batch_is_asked_for_hearsay_as_a_single_entry_is() -> None:
    net, a = cluster()
    link = link_of(net, "b")
    entries = tuple(sorted(a.store.records())[:2])
    hear(net, first("b"), link)
    hear(net, pull(range(16)), link)
    hear(net, conclude(a, fingerprints(a)), link)
    frame = LAN.frame([encode(Gossip(sequence=1, sender="c")), encode(Bundle(entries=entries))])
    net.perform("a", a.receive(frame, net.replicas["c"].member.address, net.now("a")))
    assert len(a.store) == 0
    assert a.statistics()["entries_refused.hearsay"] == 1
    net.until(net.converged)
    assert len(a.store) == 20


@pytest.mark.parametrize("own_word", [False, True])
def test_only_the_peer_itself_tells_what_it_has_collected_of_a_packet_of_rumors(
    own_word: bool,
) -> None:
    net, a = cluster()
    effects = [*a.put("k", b"v", net.now("a")).effects, *a.tick(net.now("a"))]
    to, gossip = next((to, each) for to, each in told(LAN, effects) if isinstance(each, Gossip))
    said = Feedback(sequence=gossip.sequence, known=b"\x00", collected=b"\x01")
    hear(net, said, to if own_word else STRANGER, reliable=False)
    assert a.store.value("k") == (None if own_word else b"v")
    assert quarantined(net) == (["k"] if own_word else [])


def test_of_what_was_pushed_alone_the_peer_can_have_collected_anything() -> None:
    net, a = cluster()
    exchanges = a.pools.lan.exchanges
    exchanges.start("b", net.now("a"))
    (exchange,) = exchanges._slots.running.values()
    (question,) = exchange._unanswered.values()
    merged = Merged(
        exchange=exchange.number,
        request=question.request,
        collected=pack("Q", fingerprints(a)),
    )
    hear(net, merged)
    assert (len(a.store), quarantined(net)) == (20, [])


def test_a_context_counts_for_nothing_beyond_the_time_of_this_node() -> None:
    net, a = cluster()
    b = net.replicas["b"]
    later = timestamp_of(net.now("a").wall_ms + 9_000)
    facts = [fact_of(later, b.site, kind) for kind in (Kind.VECTOR_ENTRY, Kind.SEEN)]
    link = link_of(net, "c")
    hear(net, first("c"), link)
    hear(net, conclude(a, [], encoded(ContextDifference(0, facts))), link)
    assert a.tombstones.context.vector[b.site] < later
    assert a.statistics()["facts_from_the_future"] == 2
    for number in range(10):
        net.put("b", f"new{number}", b"v")
        net.run(0.5)
    net.until(net.converged)
    assert len(a.store) == 30
    assert not quarantined(net)


def test_a_context_that_has_more_of_the_own_site_than_there_is_begins_a_new_life() -> None:
    net, a = cluster()
    site = a.site
    fact = fact_of(timestamp_of(net.now("a").wall_ms), a.site, Kind.VECTOR_ENTRY)
    link = link_of(net, "c")
    hear(net, first("c"), link)
    assert not hear(net, conclude(a, [], encoded(ContextDifference(0, [fact]))), link)
    assert a.site != site
    net.until(net.converged)
    assert len(a.store) == 20


def test_a_gap_is_a_finding_of_the_doctor_and_ends_when_the_dead_are_forgotten() -> None:
    net, a = cluster()
    forget_ms = int(a.config.forget_after_s * 1000)
    wall_ms, link = net.now("a").wall_ms, link_of(net, "c")
    condition = a.pools.lan._condition.at
    assert condition(1, net.now("a")).gap_s == 0
    gaps = [
        fact_of(timestamp_of(wall_ms - 60_000), 5, Kind.GAP),
        fact_of(timestamp_of(wall_ms - forget_ms - 60_000), 6, Kind.GAP),
    ]
    hear(net, first("c"), link)
    hear(net, conclude(a, [], encoded(ContextDifference(0, gaps))), link)
    assert list(a.tombstones.context.gaps) == [5], "the other one is over"
    shown = condition(1, net.now("a"))
    assert 0 < shown.gap_s <= forget_ms / 1000 - 59
    found = list(diagnosis._condition("a", shown, 1))
    assert [code for code, _ in found] == ["context_gap"]
    a.tombstones.collecting.end_gaps(wall_ms + forget_ms - 61_000)
    assert a.tombstones.context.gaps
    a.tombstones.collecting.end_gaps(wall_ms + forget_ms - 59_000)
    assert not a.tombstones.context.gaps
    assert condition(1, net.now("a")).gap_s == 0


# -- waits ---------------------------------------------------------------------------------------


def holders(net: Network) -> list[str]:
    return [e.peer.name for e in net.effects["a"] if isinstance(e, AckReceived)]


@pytest.mark.parametrize("forged", ["a root", "a record"])
def test_who_names_a_member_does_not_show_what_it_holds(forged: str) -> None:
    net, a = cluster()
    net.partition("a b", "c")
    net.put("a", "k", b"v")
    net.perform("a", a.wait(1, "k", parse_write_concern("all"), 60.0, net.now("a")))
    net.run(1)
    assert holders(net) == ["a", "b"]
    if forged == "a root":
        said: list[Message] = [
            Ping(
                sequence=1,
                sender="c",
                target="a",
                root=a.store.digest.root,
                wall_ms=0,
                sync_state=SyncState.SETTLED,
            )
        ]
    else:
        said = [Gossip(sequence=1, sender="c"), Rumor(key="k", record=a.store["k"])]
    frame = LAN.frame([encode(each) for each in said])
    net.perform("a", a.receive(frame, STRANGER, net.now("a"), PoolKind.LAN))
    assert holders(net) == ["a", "b"]
    member = next(each for each in a.members() if each.name == "c")
    net.perform("a", a.receive(frame, member.address, net.now("a"), PoolKind.LAN))
    assert holders(net) == ["a", "b", "c"], "from its address it is its word"


def forged(a: Replica, what: str) -> list[Message]:
    """What makes a believe that c holds the key."""
    ping = Ping(
        sequence=1,
        sender="c",
        target="a",
        root=a.store.digest.root,
        wall_ms=0,
        sync_state=SyncState.SETTLED,
    )
    ack = Ack(
        sequence=1,
        sender="c",
        root=a.store.digest.root,
        wall_ms=0,
        sync_state=SyncState.SETTLED,
    )
    rumors: list[Message] = [Gossip(sequence=1, sender="c"), Rumor(key="k", record=a.store["k"])]
    push = Push(exchange=EXCHANGE, request=2, entries=(("k", a.store["k"]),))
    kinds: dict[str, list[Message]] = {"a ping": [ping], "an ack": [ack], "a rumor": rumors}
    return {**kinds, "an exchange": [first("c"), push]}[what]


@pytest.mark.parametrize("what", ["a ping", "an ack", "a rumor", "an exchange"])
def test_nor_does_who_dials_from_the_members_own_host(what: str) -> None:
    net, a = cluster()
    net.partition("a b", "c")
    net.put("a", "k", b"v")
    net.perform("a", a.wait(1, "k", parse_write_concern("all"), 60.0, net.now("a")))
    net.run(1)
    c = next(each for each in a.members() if each.name == "c")
    units = forged(a, what)
    frames = [units] if what == "a rumor" else [[unit] for unit in units]
    for frame in frames:
        data = LAN.frame([encode(each) for each in frame], reliable=True)
        elsewhere = c.address._replace(port=c.port + 1)
        net.perform("a", a.receive(data, elsewhere, net.now("a"), reliable=True))
    assert holders(net) == ["a", "b"]


def test_a_version_query_has_a_number_of_its_own_for_each_member() -> None:
    net, a = cluster()
    net.partition("a", "b c")
    asked: dict[str, int] = {}

    def note(frm: str, to: str, sent: Send) -> None:
        for unit in LAN.open(sent.data, reliable=sent.reliable).messages:
            if isinstance(unit, Enquire):
                name = next(each.name for each in a.members() if each.address == sent.to)
                assert asked.setdefault(name, unit.number) == unit.number

    net.watch = note
    net.put("a", "k", b"v")
    net.perform("a", a.wait(1, "k", parse_write_concern("all"), 60.0, net.now("a")))
    net.run(1)
    assert sorted(asked) == ["b", "c"]
    lives = {each.name: each.site for each in a.members()}
    hear(net, Confirm(number=asked["b"], sender="c", life=lives["c"]))
    assert holders(net) == ["a"], "b cannot speak for c"
    hear(net, Confirm(number=asked["c"], sender="c", life=lives["c"]))
    assert holders(net) == ["a", "c"]


def test_a_helper_does_not_show_what_the_target_holds_nor_its_clock() -> None:
    net, a = cluster()
    net.partition("a", "c")
    requests: list[PingRequest] = []

    def note(frm: str, to: str, sent: Send) -> None:
        units = LAN.open(sent.data, reliable=sent.reliable).messages
        requests.extend(each for each in units if isinstance(each, PingRequest) and frm == "a")

    net.watch = note
    net.put("a", "k", b"v")
    net.perform("a", a.wait(1, "k", parse_write_concern("all"), 60.0, net.now("a")))
    clocks = a.clock_guard.ahead_s(net.now("a"))
    net.until(lambda: bool(requests))
    said = Ack(
        sequence=requests[-1].sequence,
        sender="c",
        root=a.store.digest.root,
        wall_ms=1,
        sync_state=SyncState.SETTLED,
    )
    hear(net, said, next(each for each in a.members() if each.name == "b").address, reliable=False)
    assert "c" not in holders(net)
    assert a.clock_guard.ahead_s(net.now("a")) == pytest.approx(clocks, abs=1)


def test_a_member_answers_a_survey_for_itself_alone() -> None:
    net, a = cluster()
    numbers: list[int] = []

    def note(frm: str, to: str, sent: Send) -> None:
        units = LAN.open(sent.data, reliable=sent.reliable).messages
        numbers.extend(each.number for each in units if isinstance(each, Measure))

    net.partition("a", "b c")
    net.watch = note
    net.perform("a", a.survey(7, net.now("a")))
    b, c = (each for each in a.members() if each.name != "a")
    said = Measured(number=numbers[0], sender="c", root=0, keys=0, precision=Precision.EXACT)
    hear(net, said, b.address)
    hear(net, said, STRANGER)
    assert not [each for each in net.effects["a"] if isinstance(each, Surveyed)]
    hear(net, said, c.address)
    (answered,) = [each for each in net.effects["a"] if isinstance(each, Surveyed)]
    assert answered.peer.name == "c"
