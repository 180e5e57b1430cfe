"""One copy of the data and its pool, as one machine; and several of them in a network that encodes
everything."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvgossip.config import Address, Config
from kvgossip.errors import BadKeyError, ConfigError, LocalError, ValueTooLargeError
from kvgossip.protocol.effect import Departed, Log, MemberChanged, Resolve, Settled
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.model.entry import Version, make_record, version_of
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.exchange_messages import Push
from kvgossip.protocol.wire.message import Ack, Gossip, Rumor
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import (
    LAN,
    PORT,
    STRANGER,
    WALL_MS,
    Network,
    about,
    address_of,
    at,
    changed,
    logs,
    make_replica,
    member,
    record,
    version,
)
from tests.protocol.strategies import few_keys, messages, of_kind, records

ALIVE, SUSPECT, DEAD, LEFT = MemberState
SEED = str(address_of(0))


def hear(replica: Replica, key: str, held: bytes, seconds: float = 0.0) -> list[Changed]:
    """A rumor of this record; the changes that it made."""
    return changed(
        replica.receive(
            LAN.frame([encode(Gossip(1, "b")), encode(Rumor(key, held))]), STRANGER, at(seconds)
        )
    )


def everywhere(net: Network, key: str, value: bytes | None) -> bool:
    return all(replica.store.value(key) == value for replica in net.replicas.values())


# -- writes --------------------------------------------------------------------------------------


def test_the_first_effect_of_a_write_is_its_change() -> None:
    replica = make_replica("a")
    (first,) = replica.put("k", b"v", at(), "text/plain").effects
    assert isinstance(first, Changed)
    entry = replica.store.get("k")
    assert entry is not None
    assert (first.key, first.old, first.new) == ("k", None, entry)
    assert (entry.value, entry.content_type, entry.version) == (
        b"v",
        "text/plain",
        Version(at().wall_ms << 16, replica.site),
    )
    (second,) = replica.put("k", b"w", at()).effects
    assert isinstance(second, Changed)
    assert (second.old, second.new.value) == (entry, b"w")


def test_lesson_20_a_delete_is_a_change_from_the_value_to_a_death_certificate() -> None:
    replica = make_replica("a")
    replica.put("k", b"v", at())
    before = replica.store.get("k")
    (change,) = replica.delete("k", at()).effects
    assert isinstance(change, Changed)
    assert change.old == before
    assert change.new.deleted
    assert change.new.version > (before.version if before else version())
    assert (replica.store.get("k"), replica.store.value("k"), replica.store.scan_entries()) == (
        None,
        None,
        [],
    )
    assert replica.store.visible("k") is not None


@pytest.mark.parametrize("key", ["missing", "deleted"])
def test_a_delete_without_a_live_entry_does_nothing(key: str) -> None:
    replica = make_replica("a")
    replica.put("deleted", b"v", at())
    replica.delete("deleted", at())
    root = replica.store.digest.root
    assert replica.delete(key, at()).effects == []
    assert replica.store.digest.root == root


def test_lesson_26_any_text_is_a_key_but_for_paths_that_climb() -> None:
    replica = make_replica("a")
    for key in ("a b", "100%", "ç", "\U0001f600", "a//b", "x" * 1024):
        replica.put(key, b"v", at())
        assert replica.store.value(key) == b"v"
    for key in ("", "/a", "../a", "a/./b", "x" * 1025):
        with pytest.raises(BadKeyError) as caught:
            replica.put(key, b"v", at())
        assert caught.value.hint
        with pytest.raises(BadKeyError):
            replica.delete(key, at())


@pytest.mark.parametrize(
    ("value", "content_type", "error"),
    [
        (b"v" * 101, None, ValueTooLargeError),
        (b"v", "", LocalError),
        (b"v", "é", LocalError),
        (b"v", "a\r\nX: y", LocalError),
        (b"v", "\ud800", LocalError),
        (b"v", "t" * 257, LocalError),
        (b"v", "t" * 70_000, LocalError),
    ],
)
def test_a_write_that_is_refused_changes_nothing(
    value: bytes, content_type: str | None, error: type[LocalError]
) -> None:
    """F11"""
    replica = make_replica("a", value_bytes_max=100)
    with pytest.raises(error) as caught:
        replica.put("k", value, at(), content_type)
    assert caught.value.hint
    assert (replica.store.get("k"), replica.hlc.latest, replica.tick(at(0.0))) == (None, 0, [])
    replica.put("k", b"v" * 100, at(), "t" * 256)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 4000), st.integers(-3000, 3000)), max_size=15)
)
def test_a_write_is_greater_than_every_version_seen_before(
    inputs: list[tuple[bool, int, int]],
) -> None:
    replica, seen = make_replica("a"), Version(0, 0)
    for writes, ahead_ms, wall_ms in inputs:
        now = at()._replace(wall_ms=WALL_MS + wall_ms)
        if writes:
            replica.put("k", b"v", now)
            written = version_of(replica.store.visible("k") or b"")
            assert written > seen
            seen = written
        else:
            heard = version(wall_ms + ahead_ms, site=2**63)
            replica.receive(
                LAN.frame([encode(Gossip(1, "b")), encode(Rumor("k", make_record(heard, b"w")))]),
                STRANGER,
                now,
            )
            seen = max(seen, heard)


def test_two_lives_of_one_name_are_two_sites() -> None:
    sites = {make_replica("a", seed=seed).site for seed in range(20)}
    assert len(sites) == 20


def test_a_replica_needs_a_name() -> None:
    with pytest.raises(ConfigError):
        Replica(Config(), address=STRANGER, rng=Random(1), now=at())


# -- what is heard -------------------------------------------------------------------------------


@given(st.lists(st.tuples(few_keys, records), max_size=10), st.randoms(use_true_random=False))
def test_replicas_that_heard_the_same_in_any_order_hold_the_same(
    heard: list[tuple[str, bytes]], rng: Any
) -> None:
    one, other = make_replica("a"), make_replica("b", 1)
    for each in (one, other):
        each.cluster_id.take(ClusterId(1, 1))
    # a site gives each version once, to one key
    heard = [
        (key, held[:9] + (10 * ord(key[0]) + version_of(held).site).to_bytes(8, "big") + held[17:])
        for key, held in heard
    ]
    heard = [(key, held) for key, held in heard if key != "ba"]
    for key, held in heard:
        hear(one, key, held)
    shuffled = list(heard)
    rng.shuffle(shuffled)
    for key, held in shuffled:
        hear(other, key, held)
    assert one.store.digest.root == other.store.digest.root
    assert one.store.scan_entries() == other.store.scan_entries()


def test_equal_versions_with_different_bodies_are_decided_alike_everywhere() -> None:
    net = Network()
    net.cluster("a b c")
    bodies = [make_record(version(site=9), body) for body in (b"one", b"two", None)]
    for name, held in zip("abc", bodies, strict=True):
        hear(net.replicas[name], "k", held)
        net.perform(name, [])
    net.until(net.converged)
    assert len({replica.store.visible("k") for replica in net.replicas.values()}) == 1


def test_lesson_25_a_version_too_far_ahead_is_refused_by_rumor_and_by_exchange_and_owns_no_key() -> (
    None
):
    replica = make_replica("a")
    assert len(hear(replica, "k", record(b"in time", ms=10_000))) == 1
    assert hear(replica, "k", record(b"ahead", ms=10_001)) == []
    pushed = (("k", record(b"ahead", ms=86_400_000)), ("other", record(b"fine")))
    push = LAN.frame([encode(about(replica, Push(1, 1, pushed)))])
    assert [
        change.key for change in changed(replica.receive(push, STRANGER, at(), reliable=True))
    ] == ["other"]
    assert replica.store.value("k") == b"in time"
    assert replica.statistics()["entries_refused.clock_ahead"] == 2
    # the clock was not taken along, and the next write of a node in time wins
    replica.put("k", b"mine", at(0.001))
    assert replica.store.value("k") == b"mine"
    assert version_of(replica.store.visible("k") or b"").timestamp >> 16 == WALL_MS + 10_000


def test_lesson_25_one_node_with_a_clock_ahead_wins_no_write_on_the_others() -> None:
    net = Network()
    net.cluster("a b c")
    net.skew_ms["c"] = 3_600_000
    net.replicas["c"].clock_guard._peers.clear()  # it does not know yet
    net.replicas["c"].clock_guard._since_s.clear()
    net.replicas["c"].clock_guard._votes.clear()
    net.put("c", "k", b"from the future")
    net.run(5.0)
    net.put("a", "k", b"now")
    net.run(5.0)
    assert [net.replicas[name].store.value("k") for name in "ab"] == [b"now", b"now"]


@pytest.mark.parametrize(
    ("key", "held", "reason"),
    [
        ("../k", record(b"v"), "bad_key"),
        ("/k", record(b"v"), "bad_key"),
        ("é" * 1024, record(b"v"), "bad_key"),
        ("k", b"", "bad_record"),
        ("k", b"\x20" + bytes(16), "bad_record"),
        ("k", b"\x11" + bytes(16) + b"v", "bad_record"),
        ("k", record(b"v", ms=10**9), "clock_ahead"),
    ],
)
def test_lesson_08_an_entry_that_cannot_be_accepted_is_counted_and_stops_nothing(
    key: str, held: bytes, reason: str
) -> None:
    replica = make_replica("a")
    units = [Rumor("before", record(b"1")), Rumor(key, held), Rumor("after", record(b"2"))]
    effects = replica.receive(LAN.frame(map(encode, [Gossip(1, "b"), *units])), STRANGER, at())
    assert [change.key for change in changed(effects)] == ["before", "after"]
    pushed = (("third", record(b"3")), (key, held), ("fourth", record(b"4")))
    effects = replica.receive(
        LAN.frame([encode(about(replica, Push(1, 1, pushed)))]), STRANGER, at(), reliable=True
    )
    assert [change.key for change in changed(effects)] == ["third", "fourth"]
    assert replica.statistics()[f"entries_refused.{reason}"] == 2


def test_lesson_08_an_entry_of_a_newer_format_does_not_keep_others_from_being_repaired() -> None:
    net = Network()
    net.add("a")
    net.add("b", 1)
    newer = net.replicas["b"]
    for number in range(50):
        newer.put(f"k{number}", b"v" * 3000, net.now("b"))
    # b runs a newer release, whose records are large and of format 2
    for number in range(5):
        held = b"\x20" + record(b"v" * 300_000)[1:]
        newer.store.merge(f"new{number}", held)
    net.join("b", SEED)
    net.until(
        lambda: all(
            net.replicas["a"].store.value(f"k{number}") is not None for number in range(50)
        ),
        seconds=10.0,
    )
    assert net.replicas["a"].store.visible("new1") is None


# F40
def test_a_node_whose_clock_is_years_behind_says_so() -> None:
    net = Network()
    net.add("a")
    net.skew_ms["b"] = -WALL_MS
    net.add("b", join=(SEED,))
    net.run(30.0)
    assert any("clock" in text for text in logs(net.effects["b"]))


# -- any input -----------------------------------------------------------------------------------


def joined_pair(**config: Any) -> Replica:
    """A replica with two members and an exchange under way."""
    replica = make_replica("a", join=(SEED,), **config)
    for place, name in enumerate("bc", 1):
        replica.pools.lan.membership.merge(member(name, place), at())
    replica.put("k", b"v", at())
    replica.pools.lan.exchanges.start("b", at())
    replica.pools.lan.joining.join([address_of(1)])
    replica.tick(at())
    return replica


def check_boundary(replica: Replica, seconds: float) -> None:
    """What is always true after an input: ticks come to rest, and what was said can be said
    again."""
    for _ in range(300):
        replica.tick(at(seconds))
        deadline = replica.deadline()
        if deadline is None or deadline > at(seconds).monotonic_s:
            break
    else:
        pytest.fail("ticks for ever in one instant")
    replica.store._check()


FRAMES = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=60).map(lambda tail: LAN.frame([tail])),
    st.lists(messages, min_size=1, max_size=4).map(lambda told: LAN.frame(map(encode, told))),
    st.lists(messages, min_size=1, max_size=4).map(
        lambda told: LAN.frame(map(encode, told), reliable=True)
    ),
)


@settings(max_examples=400)
@given(st.lists(st.tuples(FRAMES, st.booleans(), st.integers(0, 3)), max_size=5), st.integers(0, 3))
def test_no_input_raises_on_what_a_peer_sent(
    frames: list[tuple[bytes, bool, int]], pause_s: int
) -> None:
    replica, seconds = joined_pair(), 0.0
    for data, reliable, place in frames:
        effects = replica.receive(data, address_of(place), at(seconds), reliable=reliable)
        assert all(isinstance(effect, Log) or effect is not None for effect in effects)
        seconds += pause_s
        check_boundary(replica, seconds)


@settings(max_examples=300)
@given(
    st.lists(of_kind(Member), max_size=4),
    st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=4, max_size=4),
)
def test_whatever_is_said_of_members_everything_can_be_said_on(
    heard: list[Member], names: list[str]
) -> None:
    replica = joined_pair()
    for told, name in zip(heard, names, strict=False):
        replica.receive(
            LAN.frame([encode(msgspec.structs.replace(told, name=name))]), STRANGER, at()
        )
    check_boundary(replica, 0.0)
    for seconds in (1.0, 2.0, 60.0, 3600.0):
        check_boundary(replica, seconds)
    me = replica.member
    assert LAN.open(LAN.frame([encode(me)]), reliable=False).messages == [me]
    assert me.state is ALIVE


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["put", "delete", "tick", "leave", "settle", "join", "resolved", "unreachable"]
            ),
            st.floats(0, 40),
        ),
        max_size=12,
    )
)
def test_any_requests_in_any_order_come_to_rest(requests: list[tuple[str, float]]) -> None:
    replica, seconds = joined_pair(), 0.0
    for request, pause_s in requests:
        seconds += pause_s
        now = at(seconds)
        match request:
            case "put" | "delete":
                try:
                    replica.put("k", b"v", now).effects if request == "put" else replica.delete(
                        "k", now
                    ).effects
                except LocalError as error:
                    assert "leave" in [name for name, _ in requests], error  # noqa: PT017
            case "resolved":
                replica.resolved(SEED, [address_of(0), address_of(1)], now)
            case "unreachable":
                replica.unreachable(address_of(1), now)
            case "join":
                replica.join(["10.0.0.9:1"], now)
            case "tick" | "leave" | "settle":
                getattr(replica, request)(now)
        check_boundary(replica, seconds)


def test_questions_change_nothing() -> None:
    replica = joined_pair()
    before = (replica.store.digest.root, replica.statistics(), replica.deadline())
    replica.store.get("k")
    replica.store.scan_entries("", "", 10)
    replica.members()
    replica.pools.last_exchange_s(at())
    replica.store.visible("x")
    assert (replica.store.digest.root, replica.statistics(), replica.deadline()) == before
    assert replica.tick(at()) == []


def test_one_seed_gives_one_trace() -> None:
    def trace(seed: int) -> list[tuple[float, str, str, bytes]]:
        net, spoken = Network(), []
        net._count = seed * 1_000_000
        net.watch = lambda frm, to, sent: spoken.append((net.time_s, frm, to, sent.data))
        net.cluster("a b c d")
        for number in range(10):
            net.put("abcd"[number % 4], f"k{number}", b"v" * 500 * number)
            net.run(0.1)
        net.crash("d")
        net.run(20.0)
        return spoken

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


# -- two and more --------------------------------------------------------------------------------


def test_a_write_on_one_is_a_change_on_every_other_and_a_delete_too() -> None:
    net = Network()
    net.cluster("a b c")
    net.put("a", "k", b"v")
    net.until(lambda: everywhere(net, "k", b"v"))
    net.delete("b", "k")
    net.until(lambda: everywhere(net, "k", None))
    for name in "abc":
        told = [
            (change.old and change.old.value, change.new.value)
            for change in changed(net.effects[name])
        ]
        assert told == [(None, b"v"), (b"v", None)]
    assert net.converged()


def test_lesson_01_a_deleted_key_does_not_come_back_after_a_partition() -> None:
    net = Network()
    net.cluster("a b c")
    net.put("a", "k", b"v")
    net.until(net.converged)
    net.partition("c", "a b")
    net.delete("a", "k")
    net.run(120.0)
    assert net.replicas["c"].store.value("k") == b"v"
    net.heal()
    net.until(net.converged)
    assert everywhere(net, "k", None)


def test_writes_on_both_sides_of_a_partition_are_all_there_after_it() -> None:
    net = Network()
    net.cluster("a b c d")
    net.partition("a b", "c d")
    for number in range(20):
        net.put("a", f"left{number}", b"v")
        net.put("d", f"right{number}", b"v")
        net.put("b", "both", b"left")
        net.run(0.01)
        net.put("c", "both", b"right")
    net.run(60.0)
    net.heal()
    net.until(net.converged)
    assert everywhere(net, "both", b"right")
    assert (
        len(net.replicas["a"].store.scan_entries("left"))
        == len(net.replicas["a"].store.scan_entries("right"))
        == 20
    )


def test_without_a_single_datagram_data_converges_and_nobody_is_suspected() -> None:
    net = Network()
    net.cluster("a b c")
    net.passes = lambda frm, to, reliable: reliable
    net.put("a", "k", b"v")
    net.until(net.converged, seconds=40.0)
    net.run(60.0)
    assert not any(
        state in (SUSPECT, DEAD)
        for name in "abc"
        for of in "abc"
        for state in net.state_changes(name, of)
    )


# -- membership in a network ---------------------------------------------------------------------


def test_a_crash_is_suspected_then_dead_everywhere_in_bounded_time() -> None:
    net = Network()
    net.cluster("a b c d e")
    net.run(3.0)
    net.crash("c")
    took_s = net.until(lambda: all(net.state(name, "c") is DEAD for name in "abde"))
    # one period until all have probed somebody, suspicion of 4 to 24 s
    assert 4.0 <= took_s <= 35.0
    for name in "abde":
        assert net.state_changes(name, "c")[-2:] == [SUSPECT, DEAD]
    assert not any(
        state in (SUSPECT, DEAD)
        for name in "abde"
        for of in "abde"
        for state in net.state_changes(name, of)
    )


def test_a_suspect_that_is_alive_refutes_and_is_never_dead() -> None:
    net = Network()
    net.cluster("a b c d e")
    net.run(1.0)
    net.perform(
        "a",
        net.replicas["a"].receive(LAN.frame([encode(accused(net, "c"))]), STRANGER, net.now("a")),
    )
    assert net.state("a", "c") is SUSPECT
    net.until(
        lambda: all(net.sees(name, *"abcde".replace(name, "")) for name in "abcde"), seconds=3.0
    )
    net.run(30.0)
    assert net.replicas["c"].member.incarnation == 1
    assert DEAD not in net.state_changes("a", "c")


def accused(net: Network, name: str) -> Member:
    return msgspec.structs.replace(net.replicas[name].member, state=SUSPECT, accuser="x")


def test_lesson_09_a_partition_in_which_both_sides_declared_each_other_dead_heals() -> None:
    net = Network()
    net.cluster("a b c d e")
    net.partition("a b", "c d e")
    net.until(lambda: net.sees("a", "b") and net.sees("c", "d", "e"))
    net.until(
        lambda: all(
            net.state(left, right) is net.state(right, left) is DEAD
            for left in "ab"
            for right in "cde"
        )
    )
    # long after gossip to the dead has stopped
    net.run(600.0)
    net.heal()
    took_s = net.until(lambda: all(net.sees(name, *"abcde".replace(name, "")) for name in "abcde"))
    assert took_s < 15.0


def test_lesson_09_two_nodes_alone_heal_too() -> None:
    net = Network()
    net.cluster("a b")
    net.partition("a", "b")
    net.until(lambda: net.state("a", "b") is net.state("b", "a") is DEAD)
    net.run(600.0)
    net.heal()
    assert net.until(lambda: net.sees("a", "b") and net.sees("b", "a")) < 10.0


def test_lesson_14_a_node_that_lost_everybody_comes_back_also_where_their_addresses_have_changed() -> (
    None
):
    net = Network()
    net.names["seed.example"] = [address_of(0)]
    net.add("a", 0)
    net.add("b", 1, join=("seed.example:7481",))
    net.until(lambda: net.sees("b", "a"))
    net.crash("a")
    net.run(200.0)
    assert net.sees("b")
    net.add("a", 9)
    net.names["seed.example"] = [address_of(9)]
    assert net.until(lambda: net.sees("b", "a") and net.sees("a", "b")) < 31.0


def test_lesson_11_a_node_that_is_renamed_at_its_address_replaces_its_old_name() -> None:
    net = Network()
    net.cluster("a b c")
    net.crash("c")
    net.add("new", 2, join=(SEED,))
    # nobody waits until the old name is found dead: it is asked once, and goes when the new one
    # comes
    took_s = net.until(
        lambda: all(
            net.sees(name, other, "new") and net.state(name, "c") is LEFT
            for name, other in ("ab", "ba")
        )
    )
    assert took_s < 0.7
    net.run(120.0)
    assert net.sees("a", "b", "new")
    assert net.state("b", "c") is LEFT


def test_a_restart_under_the_same_name_is_alive_again_at_once_and_has_all_data() -> None:
    net = Network()
    net.cluster("a b c")
    for number in range(100):
        net.put("a", f"k{number}", b"v" * 100)
    net.until(net.converged)
    net.crash("b")
    net.until(lambda: net.state("a", "b") is DEAD)
    net.add("b", 7, join=(SEED,))
    assert net.until(lambda: net.sees("a", "b", "c") and net.sees("c", "a", "b")) < 0.5
    assert net.until(lambda: net.converged() and net.replicas["b"].settled) < 0.5


@pytest.mark.parametrize("clock_ms", [0, -86_400_000])
def test_a_crash_and_restart_before_anybody_noticed_is_the_new_life(clock_ms: int) -> None:
    net = Network()
    net.cluster("a b c")
    net.run(2.0)
    net.crash("b")
    net.skew_ms["b"] = clock_ms
    net.add("b", 1, join=(SEED,))
    net.until(lambda: net.sees("a", "b", "c") and net.sees("c", "a", "b"))
    sites = {net.replicas[name].pools.lan.membership.members["b"].site for name in "ac"}
    net.run(5.0)
    sites = {net.replicas[name].pools.lan.membership.members["b"].site for name in "ac"}
    assert sites == {net.replicas["b"].site}


# F24, F29: also where both started in the same millisecond
@pytest.mark.parametrize("later_s", [0.0, 2.0])
def test_two_live_nodes_of_one_name_are_reported_and_nobody_else_suffers(later_s: float) -> None:
    net = Network()
    net.add("a", 0)
    net.add("x", 1, join=(SEED,))
    net.run(later_s)
    net.add("b", 5)
    twin = make_replica("x", 6, now=net.now("x2"), seed=99, join=(str(address_of(5)),))
    net.replicas["x2"], net.effects["x2"], net._at[address_of(6)] = twin, [], "x2"
    net.perform("x2", twin.tick(net.now("x2")))
    net.run(1.0)
    net.join("a", str(address_of(5)), merge=True)
    net.run(120.0)
    warnings = [
        text
        for name in ("x", "x2")
        for text in logs(net.effects[name])
        if "uses the name 'x'" in text or "is held by the live node" in text
    ]
    assert 1 <= len(warnings) <= 6
    assert net.state("a", "b") is net.state("b", "a") is ALIVE
    assert (
        net.replicas["a"].pools.lan.membership.members["x"].site
        == net.replicas["b"].pools.lan.membership.members["x"].site
    )


# -- leaving -------------------------------------------------------------------------------------


def test_who_leaves_is_left_and_not_dead_and_departs_when_its_farewell_had_time() -> None:
    net = Network()
    net.cluster("a b c")
    net.leave("c")
    net.until(lambda: net.state("a", "c") is net.state("b", "c") is LEFT, seconds=0.01)
    net.run(0.399 - 0.01)
    assert not any(isinstance(effect, Departed) for effect in net.effects["c"])
    net.run(0.01)
    assert net.effects["c"][-1] == Departed()
    assert net.replicas["c"].deadline() is None
    net.crash("c")
    net.run(120.0)
    for name in "ab":
        assert net.state_changes(name, "c") == [ALIVE, LEFT]


@pytest.mark.parametrize("size", [10, 5000, 500_000])
def test_leaving_flushes_own_writes_first(size: int) -> None:
    net = Network()
    net.cluster("a b")
    net.run(1.0)
    net.put("b", "k", b"v" * size)
    net.leave("b")
    net.until(lambda: net.replicas["a"].store.value("k") == b"v" * size, seconds=0.4)


def test_a_node_that_is_leaving_takes_no_writes() -> None:
    replica = make_replica("a")
    replica.put("k", b"v", at())
    replica.leave(at())
    with pytest.raises(LocalError, match="leaving"):
        replica.put("k", b"w", at())
    with pytest.raises(LocalError, match="leaving"):
        replica.delete("k", at())
    assert replica.store.value("k") == b"v"
    assert replica.leave(at(0.1)) == []


def test_who_left_may_come_back_in_a_new_life() -> None:
    net = Network()
    net.cluster("a b")
    net.leave("b")
    net.run(1.0)
    net.crash("b")
    net.run(10.0)
    net.add("b", 1, join=(SEED,))
    assert net.until(lambda: net.sees("a", "b") and net.sees("b", "a")) < 0.1


# -- settling (protocol.md section 8) ------------------------------------------------------------


def settled(net: Network, name: str) -> bool:
    return net.replicas[name].settled


def test_a_node_without_a_join_address_founds_a_cluster_and_is_settled_at_once() -> None:
    replica = make_replica("a")
    assert replica.settled
    assert replica.tick(at()) == []


def test_lesson_16_a_cold_node_is_not_settled_before_it_has_what_a_settled_member_has() -> None:
    net = Network()
    net.add("a")
    for number in range(500):
        net.put("a", f"k{number}", b"v" * 2000)
    net.run(1.0)
    net.add("b", join=(SEED,))
    assert not settled(net, "b")
    net.until(lambda: settled(net, "b"))
    assert net.converged()
    assert [effect for effect in net.effects["b"] if isinstance(effect, Settled)] == [Settled()]


def test_lesson_18_a_node_whose_join_addresses_do_not_answer_is_not_settled_until_one_does() -> (
    None
):
    net = Network()
    net.add("b", 1, join=(SEED,))
    net.run(300.0)
    assert not settled(net, "b")
    net.add("a", 0)
    net.until(lambda: settled(net, "b"), seconds=31.0)


def test_lesson_18_an_exchange_with_somebody_who_is_not_settled_settles_nobody() -> None:
    net = Network()
    net.add("a", 0, join=(str(address_of(9)),))
    net.add("b", 1, join=(SEED, str(address_of(9))))
    net.run(100.0)
    assert net.sees("a", "b")
    assert not settled(net, "a")
    assert not settled(net, "b")


def test_a_fresh_cluster_in_which_everybody_joins_everybody_settles_together() -> None:
    net = Network()
    targets = tuple(str(address_of(place)) for place in range(3))
    for name in "abc":
        net.add(name, join=targets)
    net.until(lambda: all(settled(net, name) for name in "abc"), seconds=5.0)


def test_a_fresh_cluster_behind_one_name_that_grows_settles_together() -> None:
    net = Network()
    net.names["service"] = [address_of(0)]
    net.add("a", 0, join=("service:7481",))
    net.run(0.0005)
    net.names["service"] = [address_of(place) for place in range(3)]
    net.add("b", 1, join=("service:7481",))
    net.add("c", 2, join=("service:7481",))
    net.until(lambda: all(settled(net, name) for name in "abc"), seconds=5.0)


# F08
def test_a_node_whose_only_join_address_is_its_own_is_a_cluster_of_one_and_settles() -> None:
    net = Network()
    net.names["service"] = [address_of(0)]
    net.add("a", 0, join=("service:7481",))
    net.until(lambda: settled(net, "a"), seconds=1.0)


def test_an_exchange_that_was_cut_before_a_node_settled_is_tried_again_soon() -> None:
    net = Network()
    net.add("a")
    net.put("a", "k", b"v")
    net.run(1.0)
    joins = 0

    def one_frame(frm: str, to: str, reliable: bool) -> bool:
        # the join passes, the exchange after it does not
        nonlocal joins
        joins += reliable
        return joins <= 2 or net.time_s > 1.5

    net.passes = one_frame
    net.add("b", join=(SEED,))
    net.run(0.4)
    assert net.sees("b", "a")
    assert not settled(net, "b")
    net.until(lambda: settled(net, "b"), seconds=10.0)


def test_an_operator_may_say_that_what_is_here_is_the_truth() -> None:
    replica = make_replica("a", join=(SEED,))
    assert replica.settle(at())[0] == Settled()
    assert replica.settled
    assert replica.settle(at()) == []


def test_writes_are_taken_before_a_node_is_settled() -> None:
    replica = make_replica("a", join=(SEED,))
    replica.put("k", b"v", at())
    assert not replica.settled
    assert replica.store.value("k") == b"v"


# -- joining -------------------------------------------------------------------------------------


def test_start_asks_to_resolve_every_join_address() -> None:
    replica = make_replica("a", join=("one:1", "two:2"))
    assert [effect for effect in replica.tick(at()) if isinstance(effect, Resolve)] == [
        Resolve("one:1"),
        Resolve("two:2"),
    ]


def test_an_address_that_cannot_be_resolved_is_asked_again() -> None:
    replica = make_replica("a", join=("nowhere:1",))
    replica.tick(at())
    assert replica.resolved("nowhere:1", [], at()) == []
    assert Resolve("nowhere:1") in replica.tick(at(1.0))


def test_an_operators_join_that_cannot_be_resolved_is_forgotten() -> None:
    replica = make_replica("a")
    assert replica.join(["nowhere:1"], at()) == [Resolve("nowhere:1")]
    assert replica.resolved("nowhere:1", [], at()) == []
    assert replica.resolved("nowhere:1", [STRANGER], at()) == []


def test_the_members_are_told_sorted_with_this_node_among_them() -> None:
    replica = make_replica("m")
    for name, place in (("z", 5), ("b", 6)):
        replica.pools.lan.membership.merge(member(name, place), at())
    assert [known.name for known in replica.members()] == ["b", "m", "z"]
    assert replica.member == replica.members()[1]
    assert replica.member.address == Address("10.0.0.1", PORT)


def test_every_change_of_a_member_is_an_effect() -> None:
    replica = make_replica("a")
    effects = replica.receive(
        LAN.frame([encode(member("b", 1)), encode(member("b", 1, LEFT))]), STRANGER, at()
    )
    assert [effect for effect in effects if isinstance(effect, MemberChanged)] == [
        MemberChanged(None, member("b", 1)),
        MemberChanged(member("b", 1), member("b", 1, LEFT)),
    ]


def test_the_age_of_the_last_exchange_is_known() -> None:
    net = Network()
    net.cluster("a b")
    assert (
        net.replicas["a"].pools.last_exchange_s(net.now("a")) is None
        or net.replicas["b"].pools.last_exchange_s(net.now("b")) is not None
    )
    assert make_replica("c").pools.last_exchange_s(at()) is None
    assert net.replicas["b"].pools.last_exchange_s(Now(net.clock_s + 5.0, 0)) == pytest.approx(
        5.0, abs=0.01
    )


# -- chaos: whatever happens, once it stops all are one again ------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_after_any_faults_all_replicas_hold_the_same_and_know_each_other(seed: int) -> None:
    rng, net = Random(seed), Network()
    names = list("abcde")
    net.cluster("a b c d e")
    net.passes = lambda frm, to, reliable: rng.random() > (0.02 if reliable else 0.2)
    places, gone = {name: place for place, name in enumerate(names)}, set[str]()
    for step in range(60):
        name = rng.choice([name for name in names if name not in gone])
        match rng.randrange(8):
            case 0 if len(gone) < 2:
                net.crash(name)
                gone.add(name)
            case 1 if gone:
                name = sorted(gone)[0]
                gone.discard(name)
                join = tuple(
                    str(address_of(places[other]))
                    for other in names
                    if other not in gone and other != name
                )
                net.add(name, places[name], join=join)
            case 2:
                net.partition(name, " ".join(other for other in names if other != name))
            case 3:
                net.heal()
            case 4:
                net.delete(name, f"k{rng.randrange(10)}")
            case _:
                net.put(name, f"k{rng.randrange(10)}", b"%d " % step * rng.choice([1, 1, 2000]))
        net.run(rng.choice([0.0, 0.01, 0.5, 5.0]))
    net.passes = lambda frm, to, reliable: True
    net.heal()
    for name in sorted(gone):
        join = tuple(str(address_of(places[other])) for other in names if other not in gone)
        net.add(name, places[name], join=join)
    net.until(
        lambda: all(net.sees(name, *(other for other in names if other != name)) for name in names),
        seconds=60.0,
    )
    net.until(net.converged, seconds=60.0)
    net.until(lambda: all(settled(net, name) for name in names), seconds=60.0)
    for replica in net.replicas.values():
        replica.store._check()
        assert not [
            name
            for name in replica.statistics()
            if name.startswith(("units_dropped.bad", "entries_refused"))
        ]


def test_an_ack_that_is_forged_saves_nobody() -> None:
    net = Network()
    net.cluster("a b")
    net.run(1.0)
    net.crash("b")
    for _ in range(100):
        net.perform(
            "a",
            net.replicas["a"].receive(
                LAN.frame([encode(Ack(10**6, "b", 0, 0, SyncState.SETTLED))]),
                address_of(1),
                net.now("a"),
            ),
        )
        net.run(0.1)
    assert net.state("a", "b") is DEAD
