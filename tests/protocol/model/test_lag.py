"""The lag of updates: true however far clocks are apart, and of nothing that is no lag."""

from __future__ import annotations

from random import Random
from statistics import median

import pytest
from msgspec.structs import replace

from kvgossip.protocol.model.entry import make_record, version_of
from kvgossip.protocol.model.histogram import Histogram, quantile
from kvgossip.protocol.model.lag import (
    ASK_S,
    BOUNDS_S,
    DATACENTERS_MAX,
    FAR_MAX,
    LATELY_S,
    OLD_S,
    SAMPLE_S,
    FarClock,
    Figures,
)
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.clock_messages import AskClocks, ClocksHere
from kvgossip.protocol.wire.message import Gossip, Rumor
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, WALL_MS, Network, address_of, member, record, version
from tests.protocol.test_datacenters import counted, two_datacenters

SEEDS = 2


def figures(net: Network, name: str, of: str) -> Figures:
    """What this node has measured of another one's writes."""
    replica = net.replicas[name]
    known = replica.pools.lan.membership.members[of]
    return replica.lag.of_writer(known, net.now(name))


def unmeasured(replica: Replica) -> dict[str, int]:
    return {
        name.partition(".")[2]: count
        for name, count in replica.counters.items()
        if name.startswith("lag_unmeasured.")
    }


def measured(replica: Replica) -> int:
    return sum(histogram.count for histogram in replica.lag.histograms.values())


def heard(net: Network, to: str, entry: bytes, key: str = "k") -> None:
    """A rumor of this record, from b."""
    replica = net.replicas[to]
    data = LAN.frame([encode(Gossip(1, "b")), encode(Rumor(key, entry))], reliable=False)
    net.perform(to, replica.receive(data, address_of(1), net.now(to)))


def pair(**config: object) -> tuple[Network, Replica, int]:
    """Two nodes that have probed each other; the first one, and the site of the other one."""
    net = Network()
    a, b = net.cluster("a b", **config)
    net.run(5.0)
    return net, a, b.site


def arrival_times(net: Network, key: str, *names: str) -> dict[str, float]:
    """How long this key takes from now on until each of these nodes has it, seconds."""
    begin_s, took_s = net.clock_s, dict[str, float]()

    def have_it() -> bool:
        for name in names:
            if name not in took_s and net.replicas[name].store.value(key) is not None:
                took_s[name] = net.clock_s - begin_s
        return len(took_s) == len(names)

    net.until(have_it)
    return took_s


# -- the truth ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_lag_is_that_of_the_network_though_clocks_are_seconds_apart(seed: int) -> None:
    """The ways are of 5 to 150 ms, the same in both directions; the writer of each key is one whose
    time no other clock leads."""
    rng, net = Random(f"{seed} lag"), Network()
    ways = {frozenset(pair): rng.uniform(0.005, 0.15) for pair in ("ab", "ac", "bc")}
    net.way_s = lambda frm, to: ways[frozenset((frm, to))]
    net.skew_ms = {"a": 4000, "b": rng.randint(-4000, 3000), "c": rng.randint(-4000, 3000)}
    net.cluster("a b c")
    net.run(10.0)
    truth: dict[str, list[float]] = {"b": [], "c": []}
    for number in range(20):
        net.put("a", f"k{number}", b"v")
        for name, took_s in arrival_times(net, f"k{number}", *truth).items():
            truth[name].append(took_s)
        net.run(rng.uniform(0.1, 0.3))
    for name, arrivals in truth.items():
        shown = figures(net, name, "a")
        assert shown.measured == len(arrivals)
        assert shown.p50_s is not None
        # as near as the buckets tell, and a part of a millisecond
        assert shown.p50_s == pytest.approx(median(arrivals), rel=0.4, abs=0.002)
        histogram = net.replicas[name].lag.histograms["dc1", "rumor"]
        mean_s = sum(arrivals) / len(arrivals)
        assert histogram.sum_s / histogram.count == pytest.approx(mean_s, abs=0.002)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_lag_of_writers_behind_gateways_is_true_though_clocks_are_seconds_apart(
    seed: int,
) -> None:
    """b and c are in one datacenter, e in the other one, as are the gateways a and d: of b, which
    e never probes, d and e hear what clocks show."""
    rng, net = Random(f"{seed} far"), two_datacenters("a b c", "d e", "a d")
    place = {name: name in "abc" for name in "abcde"}
    ways = {
        frozenset((one, other)): rng.uniform(0.0005, 0.002)
        if place[one] == place[other]
        else rng.uniform(0.02, 0.08)
        for one in place
        for other in place
    }
    net.way_s = lambda frm, to: ways[frozenset((frm, to))]
    net.skew_ms = {name: rng.randint(-3000, 3000) for name in "acde"} | {"b": 4000}
    net.run(30.0)
    truth: dict[str, list[float]] = {"d": [], "e": []}
    shown: dict[str, int] = {}
    for number in range(40):
        if number == 10:
            # by now they have asked, and the gateway of e knows what it was asked for
            for name in truth:
                replica = net.replicas[name]
                shown[name] = replica.lag.histograms.get(("dc1", "rumor"), Histogram(())).count
            truth = {"d": [], "e": []}
        net.put("b", f"k{number}", b"v")
        for name, took_s in arrival_times(net, f"k{number}", *truth).items():
            truth[name].append(took_s)
        net.run(2 * ASK_S / 10)
    assert all(count < 10 for count in shown.values())
    for name, arrivals in truth.items():
        histogram = net.replicas[name].lag.histograms["dc1", "rumor"]
        assert histogram.count >= len(arrivals)
        mean_s = sum(arrivals) / len(arrivals)
        assert histogram.sum_s / histogram.count == pytest.approx(mean_s, abs=0.005)
        assert net.replicas[name].lag.by_datacenter(net.now(name))["dc1"].measured > 0


def test_gateways_of_releases_before_are_silent_and_nobody_asks_where_nobody_writes() -> None:
    net = two_datacenters("a b", "d e", "a d")
    counts = counted(net)
    net.run(60.0)
    assert not [kind for *_, kind in counts if kind == "AskClocks"]
    for replica in net.replicas.values():
        for pool in replica.pools:
            pool.dispatch._handlers[AskClocks] = lambda message, arrival: None
    for number in range(40):
        net.put("b", f"k{number}", b"v")
        net.run(1.0)
    asked = {key: count for key, count in counts.items() if key[3] == "AskClocks"}
    assert {(frm, to) for frm, to, *_ in asked} == {("e", "d"), ("d", "a")}
    assert all(count <= 3 for count in asked.values())
    assert unmeasured(net.replicas["e"])["writer"] > 30


def test_a_clock_is_heard_of_gateways_alone_and_of_other_datacenters_alone() -> None:
    net, a, _ = pair()
    clock = FarClock("x", "dc2", 77, 0.0, 1.0)
    answer = LAN.frame([encode(ClocksHere("b", (clock,)))])
    net.perform("a", a.receive(answer, address_of(1), net.now("a"), reliable=True))
    assert not a.lag.far_clocks(net.now("a"))
    a.lag.heard("b", [clock, FarClock("y", "dc1", 78, 0.0, 1.0)], net.now("a"))
    (known,) = a.lag.far_clocks(net.now("a"))
    assert (known.name, known.site) == ("x", 77)
    assert known.low_ms <= 0.0 <= known.high_ms
    a.lag.heard("nobody", [clock], net.now("a"))
    assert not a.lag.far_clocks(net.now("a"))
    many = [FarClock("x", "dc2", number, 0.0, 1.0) for number in range(100, 2 * FAR_MAX)]
    a.lag.heard("b", many, net.now("a"))
    assert len(a.lag.far_clocks(net.now("a"))) == FAR_MAX


def test_a_time_that_the_clock_of_its_writer_has_not_shown_is_not_measured() -> None:
    net, a, _ = pair()
    net.skew_ms["a"] = 3000
    net.put("a", "k", b"1")
    net.run(1.0)
    # b has taken over the clock of a, and counts on from there
    net.put("b", "k", b"2")
    net.run(1.0)
    assert a.store.value("k") == b"2"
    assert (measured(a), unmeasured(a)) == (0, {})
    net.run(3.0)
    net.put("b", "k", b"3")
    net.run(1.0)
    assert measured(a) == 1


def test_a_clock_that_was_set_since_its_probe_is_not_believed() -> None:
    net, a, _ = pair()
    net.skew_ms["b"] = 4000
    net.put("b", "k", b"v")
    net.run(0.1)
    assert (measured(a), unmeasured(a)) == (0, {"clock": 1})
    net.run(5.0)
    net.put("b", "k", b"w")
    net.run(0.1)
    assert measured(a) == 1


# -- what is lag, and what is not -----------------------------------------------------------------


def test_what_a_client_of_this_node_writes_and_what_is_imported_has_no_lag() -> None:
    net, a, site = pair()
    net.put("a", "k", b"v")
    entry = make_record(version_of(record(b"v", 1000, site)), b"v")
    net.perform("a", a.restore([("imported", entry)], net.now("a")).effects)
    assert a.store.value("imported") == b"v"
    assert (measured(a), unmeasured(a)) == (0, {})
    net.run(1.0)
    assert measured(net.replicas["b"]) == 1


def test_what_a_life_catches_up_with_after_its_start_is_no_lag() -> None:
    net, a, _ = pair()
    net.crash("a")
    net.run(30.0)
    for number in range(3):
        net.put("b", f"k{number}", b"v")
        net.run(60.0)
    a = net.add("a", 0, join=(str(address_of(1)),))
    net.until(lambda: a.settled)
    assert (a.store.live, measured(a), unmeasured(a)) == (3, 0, {})
    net.run(5.0)
    net.put("b", "k", b"v")
    net.run(1.0)
    assert measured(a) == 1


def test_what_a_rumor_did_not_bring_is_counted_as_of_an_exchange_with_the_time_that_it_took() -> (
    None
):
    net, a, _ = pair()
    net.partition("a", "b")
    net.put("b", "k", b"v")
    cut_s = net.clock_s
    net.run(2.0)
    net.heal()
    net.until(lambda: a.store.value("k") is not None)
    histogram = a.lag.histograms["dc1", "exchange"]
    assert (measured(a), histogram.count) == (1, 1)
    assert histogram.sum_s == pytest.approx(net.clock_s - cut_s, abs=0.002)


def test_a_record_that_is_older_than_any_lag_comes_from_a_backup() -> None:
    net, a, site = pair()
    heard(net, "a", record(b"v", round(1000 * (net.time_s - OLD_S - 1)), site))
    assert (measured(a), unmeasured(a)) == (0, {"old": 1})


def test_what_has_expired_on_its_way_has_no_lag() -> None:
    net, a, site = pair()
    wall_ms = WALL_MS + round(1000 * net.time_s)
    entry = make_record(version(wall_ms - WALL_MS - 500, site), b"v", expires_ms=wall_ms - 100)
    heard(net, "a", entry)
    assert (measured(a), unmeasured(a)) == (0, {"expired": 1})


def test_a_writer_that_is_no_member_here_is_counted_apart() -> None:
    net, a, _ = pair()
    heard(net, "a", record(b"v", round(1000 * net.time_s), site=77))
    assert (measured(a), unmeasured(a)) == (0, {"writer": 1})


def test_a_member_that_has_not_answered_a_probe_yet_is_counted_apart() -> None:
    net, a, _ = pair()
    a.lag.changed(None, member("x", 7, site=78))
    heard(net, "a", record(b"v", round(1000 * net.time_s), site=78))
    assert (measured(a), unmeasured(a)) == (0, {"clock": 1})


def test_of_many_that_arrive_at_once_the_first_one_is_measured() -> None:
    net, a, site = pair()
    ms = round(1000 * net.time_s)
    for number in range(5):
        heard(net, "a", record(b"v", ms - 40, site), f"k{number}")
    assert measured(a) == 1
    net.run(2 * SAMPLE_S)
    heard(net, "a", record(b"v", ms - 40, site), "later")
    assert measured(a) == 2


def test_a_batch_is_one_arrival() -> None:
    net, a, _ = pair()
    batch = [Writing(key, b"v") for key in "xyz"]
    net.perform("b", net.replicas["b"].batch(batch, net.now("b")).effects)
    net.run(0.1)
    assert (a.store.live, measured(a)) == (3, 1)


# -- who, and how long it is remembered -----------------------------------------------------------


def test_a_new_life_is_another_writer_and_a_member_that_is_forgotten_is_none() -> None:
    net, a, site = pair()
    net.put("b", "k", b"v")
    net.run(0.1)
    old = a.pools.lan.membership.members["b"]
    assert figures(net, "a", "b").measured == 1
    net.crash("b")
    net.add("b", 1, join=(str(address_of(0)),))
    net.until(lambda: a.pools.lan.membership.members["b"].site != site)
    assert figures(net, "a", "b") == Figures(0, None, None)
    assert a.lag.of_writer(old, net.now("a")) == Figures(0, None, None)
    a.lag.changed(a.pools.lan.membership.members["b"], None)
    assert a.lag._writers == {}


def test_figures_are_of_the_last_minutes_and_the_histogram_of_the_whole_life() -> None:
    net, a, site = pair()
    start = net.now("a")

    def after(seconds: float) -> Now:
        return Now(start.monotonic_s + seconds, start.wall_ms + round(1000 * seconds))

    def arrived(seconds: float) -> None:
        now = after(seconds)
        a.clock_guard.saw("b", now.wall_ms, now.monotonic_s, now)
        a.lag.arrived(record(b"v", now.wall_ms - WALL_MS, site), now, by_exchange=False)

    def lately(seconds: float) -> int:
        return a.lag.by_datacenter(after(seconds))["dc1"].measured

    arrived(0.0)
    assert [lately(0.0), lately(LATELY_S), lately(2 * LATELY_S)] == [1, 1, 0]
    arrived(LATELY_S)
    assert [lately(LATELY_S), lately(2 * LATELY_S), lately(3 * LATELY_S)] == [2, 1, 0]
    arrived(3 * LATELY_S)
    assert lately(3 * LATELY_S) == 1
    assert a.lag.by_datacenter(after(9 * LATELY_S)) == {"dc1": Figures(0, None, None)}
    assert measured(a) == 3


def test_members_cannot_make_up_datacenters_without_end() -> None:
    net, a, _ = pair()
    ms = round(1000 * net.time_s)
    for number in range(DATACENTERS_MAX + 4):
        liar = replace(member("b", 1, site=1000 + number), datacenter=f"dc{number}")
        a.lag.changed(None, liar)
        net.run(2 * SAMPLE_S)
        heard(net, "a", record(b"v", ms, site=1000 + number), f"k{number}")
    assert len(a.lag.histograms) == 2 * DATACENTERS_MAX
    assert unmeasured(a)["place"] == 4


def test_a_quantile_lies_within_its_bucket() -> None:
    bounds_s = (0.1, 0.2, 0.4)
    assert quantile(bounds_s, [0, 0, 0, 0], 0.5) is None
    assert quantile(bounds_s, [0, 4, 0, 0], 0.5) == pytest.approx(0.15)
    assert quantile(bounds_s, [1, 1, 2, 0], 0.5) == pytest.approx(0.2)
    assert quantile(bounds_s, [1, 0, 1, 0], 0.75) == pytest.approx(0.3)
    assert quantile(bounds_s, [0, 0, 0, 3], 0.99) == 0.4
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))
    assert BOUNDS_S[-1] >= OLD_S
