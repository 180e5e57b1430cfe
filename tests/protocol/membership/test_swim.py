"""SWIM with Lifeguard, without a socket: what is merged, what is refuted, who is probed, and how
the news gets round."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kvgossip.config import Address, Config
from kvgossip.protocol.membership.dissemination import Dissemination
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.membership.probing import RELAYS_MAX
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, SyncState, rank
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.frame import encode
from kvgossip.protocol.wire.message import Ack, Message, Nack, Ping, PingRequest
from tests.protocol.net import WALL_MS, address_of, at, member
from tests.protocol.strategies import members

ALIVE, SUSPECT, DEAD, LEFT = MemberState
OTHERS = ("b", "c", "d", "e")


class Sent(NamedTuple):
    told: Message
    to: Address
    reliable: bool


class Side:
    """The membership of the node `me`, beside what it has sent. `tick(s)` lets it be s seconds
    after the start."""

    def __init__(self, *others: str, **config: Any) -> None:
        self.sent: list[Sent] = []
        self.now = at()
        me = member("me", 0, generation=WALL_MS, site=77)
        self.membership = self.of(me, **config)
        for place, name in enumerate(others, 1):
            self.merge(member(name, place))

    def of(self, me: Member, **config: Any) -> Membership:
        settings, table = Config(name="me", **config), MemberTable(me, is_blocked=lambda _: False)
        return Membership(
            settings,
            table,
            Dissemination(settings, table.members),
            rng=Random(3),
            send=self._send,
            make_ping=self._ping,
            now=self.now,
        )

    def _send(
        self, told: Message, to: Address, whom: Member | None, *, reliable: bool = False
    ) -> None:
        self.sent.append(Sent(told, to, reliable))

    def _ping(self, sequence: int, target: str, now: Now) -> Ping:
        return Ping(sequence, "me", target, 0, 0, SyncState.SETTLED)

    def merge(self, heard: Member) -> None:
        self.membership.merge(heard, self.now)

    def tick(self, seconds: float) -> list[Sent]:
        """What was sent by a tick at this time."""
        self.now = at(seconds)
        before = len(self.sent)
        self.membership.tick(self.now)
        return self.sent[before:]

    def to_deadline(self) -> list[Sent]:
        return self.tick(self.membership.deadline() - at().monotonic_s)

    def ask(self, asked: PingRequest, source: Address) -> list[Sent]:
        before = len(self.sent)
        self.membership.probing.on_ping_request(asked, Arrival(source, self.now, False))
        return self.sent[before:]

    def state(self, name: str) -> MemberState | None:
        known = self.membership.members.get(name)
        return None if known is None else known.state

    def news(self, room: int = 100_000) -> list[bytes]:
        return list(self.membership.dissemination.take_news(room))

    def probe(self) -> Ping:
        """The ping of the next period."""
        while True:
            pings = [
                sent.told
                for sent in self.to_deadline()
                if isinstance(sent.told, Ping) and not sent.reliable
            ]
            if pings:
                return pings[0]

    def ack(self, ping: Ping, sender: str = "") -> None:
        ack = Ack(ping.sequence, sender or ping.target, 0, 0, SyncState.SETTLED)
        self.membership.probing.on_ack(ack, self.arrival)

    @property
    def arrival(self) -> Arrival:
        """A datagram that comes now."""
        return Arrival(address_of(1), self.now, False)


def record_of(side: Side, name: str) -> Member:
    return side.membership.members[name]


# -- merging -------------------------------------------------------------------------------------


@given(st.lists(members, max_size=6), st.randoms(use_true_random=False))
def test_what_is_believed_does_not_depend_on_the_order_of_the_news(
    heard: list[Member], rng: Any
) -> None:
    # nobody lives where another name did: then the order matters (lesson 11)
    heard = [replace(each, host=f"{each.host}.{each.name}") for each in heard]
    shuffled = list(heard)
    rng.shuffle(shuffled)
    sides = []
    for order in (heard, shuffled):
        # everybody is known before: a name is met only while it is alive
        side = Side()
        for place, name in enumerate("bcd", 1):
            side.merge(member(name, place, generation=0))
        for each in order:
            side.merge(each)
        sides.append({name: rank(known) for name, known in side.membership.members.items()})
    assert sides[0] == sides[1]


@given(st.lists(members, max_size=6))
def test_a_merge_that_is_no_news_changes_nothing_and_sends_nothing(heard: list[Member]) -> None:
    side = Side("b", "c", "d")
    for told in heard:
        side.merge(told)
    held, digest = dict(side.membership.members), side.membership.digest
    side.membership.changes.clear()
    while side.membership.has_news:
        side.news()
    for told in heard:
        if told.state is not SUSPECT:
            side.merge(told)
    assert (side.membership.members, side.membership.digest, side.membership.changes) == (
        held,
        digest,
        [],
    )
    assert side.news() == []


@given(st.lists(members, max_size=8))
def test_a_member_never_goes_back_in_the_order(heard: list[Member]) -> None:
    side = Side("b", "c", "d")
    for told in heard:
        before = {name: rank(known) for name, known in side.membership.members.items()}
        side.merge(told)
        assert all(rank(record_of(side, name)) >= held for name, held in before.items())


def test_every_change_is_told_once_with_old_and_new() -> None:
    side = Side()
    alive, dead = member("b", 1), member("b", 1, DEAD)
    for told in (alive, alive, dead, alive):
        side.merge(told)
    assert side.membership.changes == [(None, alive), (alive, dead)]


def test_a_name_that_is_met_dead_or_gone_stays_unknown() -> None:
    side = Side()
    for state in (DEAD, LEFT):
        side.merge(member("b", 1, state))
    side.merge(member("c", 1, host=""))
    assert list(side.membership.members) == ["me"]


def test_a_name_that_is_met_as_a_suspect_is_a_suspect() -> None:
    side = Side()
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    assert side.state("b") is SUSPECT
    assert [peer.name for peer in side.membership.reachable] == ["b"]


def test_lesson_29_a_flood_of_names_is_capped_and_counted() -> None:
    side = Side(*(f"n{number}" for number in range(30)), members_max=10)
    assert len(side.membership.members) == 10
    assert side.membership.names_refused == 21
    # who is known is still heard of
    side.merge(member("n0", 1, DEAD))
    assert side.state("n0") is DEAD


def test_lesson_12_a_dead_member_is_forgotten_and_no_obituary_brings_it_back() -> None:
    side = Side("b", forget_after_s=100.0)
    side.merge(member("b", 1, DEAD))
    side.tick(99.0)
    assert side.state("b") is DEAD
    side.tick(102.0)
    assert side.state("b") is None
    assert side.membership.changes[-1] == (member("b", 1, DEAD), None)
    side.merge(member("b", 1, DEAD))
    side.merge(member("b", 1, LEFT))
    assert side.state("b") is None
    assert side.membership.dead() == []


def test_the_digest_is_equal_for_equal_tables_whoever_accuses_whom_and_whoever_is_dead() -> None:
    tables = []
    for accuser, order in (("x", "bc"), ("y", "cb")):
        side = Side()
        for name in order:
            side.merge(member(name, state=SUSPECT, accuser=accuser))
        tables.append(side)
    assert tables[0].membership.digest == tables[1].membership.digest
    for side in tables:
        side.merge(member("d", 3))
    assert tables[0].membership.digest == tables[1].membership.digest
    tables[0].merge(member("d", 3, DEAD))
    assert tables[0].membership.digest != tables[1].membership.digest
    tables[1].membership.merge(member("d", 3, LEFT), at())
    assert tables[0].membership.digest == tables[1].membership.digest


# -- ourselves -----------------------------------------------------------------------------------


def me_as(state: MemberState, generation: int = 0, incarnation: int = 0, site: int = 77) -> Member:
    return member(
        "me", 0, state, generation=WALL_MS + generation, incarnation=incarnation, site=site
    )


@pytest.mark.parametrize(
    ("heard", "generation", "incarnation"),
    [
        (me_as(SUSPECT), 0, 1),
        (me_as(SUSPECT, incarnation=7), 0, 8),
        (me_as(ALIVE, incarnation=7), 0, 8),
        (me_as(DEAD), 1, 0),
        (me_as(LEFT), 1, 0),
        (me_as(ALIVE, generation=5, site=9), 6, 0),
        (me_as(DEAD, generation=5, site=9), 6, 0),
        # no news, nothing to refute
        (me_as(ALIVE), 0, 0),
        (me_as(DEAD, generation=-5), 0, 0),
        (me_as(SUSPECT, generation=-5, incarnation=9), 0, 0),
    ],
)
def test_a_node_refutes_what_is_said_of_it_by_incarnation_and_its_death_by_generation(
    heard: Member, generation: int, incarnation: int
) -> None:
    side = Side("b")
    side.news()
    side.merge(heard)
    me = side.membership.me
    assert (me.state, me.generation, me.incarnation) == (ALIVE, WALL_MS + generation, incarnation)
    assert record_of(side, "me") == me
    if (generation, incarnation) != (0, 0):
        assert rank(me) > rank(heard)
        assert encode(me) in side.news()


def test_to_be_suspected_makes_a_node_doubt_itself_and_to_be_declared_dead_does_not() -> None:
    side = Side("b")
    side.merge(me_as(DEAD))
    assert side.membership.awareness.score == 0
    side.merge(me_as(SUSPECT, generation=1))
    assert side.membership.awareness.score == 1


def test_another_life_under_our_name_is_counted_as_a_conflict() -> None:
    side = Side()
    side.merge(me_as(ALIVE, generation=5, site=9))
    assert side.membership.conflicts == 1
    side.merge(me_as(DEAD, generation=20, site=9))
    assert side.membership.conflicts == 1


# F02, F17
@pytest.mark.parametrize("field", ["generation", "incarnation"])
@pytest.mark.parametrize("state", [ALIVE, SUSPECT, DEAD])
def test_whatever_is_said_of_a_node_its_answer_can_be_said_and_heard(
    field: str, state: MemberState
) -> None:
    for most in (2**32 - 1, 2**32, 2**53, 2**62 - 1, 2**62, WALL_MS + 10 * 365 * 86_400_000):
        side, other = Side("b"), Side("me")
        heard = member("me", 0, state, **{"generation": WALL_MS, field: most}, site=77)
        side.merge(heard)
        other.merge(heard)
        other.now = Now(other.now.monotonic_s, other.now.wall_ms + 1000)
        other.merge(side.membership.me)
        assert (
            rank(record_of(other, "me")) == max(rank(side.membership.me), rank(member("me", 0)))
            or record_of(other, "me").reachable
        )


def test_lesson_30_a_node_without_an_address_takes_the_one_that_peers_see_and_tells_it() -> None:
    me = member("me", 0, host="", generation=WALL_MS)
    side = Side()
    side.membership = side.of(me)
    assert side.news() == []
    side.membership.observed_at("10.9.9.9")
    assert (side.membership.me.host, side.membership.me.incarnation) == ("10.9.9.9", 1)
    assert side.news() == [encode(side.membership.me)]
    side.membership.observed_at("10.8.8.8")
    assert side.membership.me.host == "10.9.9.9"


def test_who_leaves_says_so_and_refutes_nothing_any_more() -> None:
    side = Side("b")
    side.membership.leave()
    assert side.membership.me.state is LEFT
    side.merge(me_as(DEAD))
    side.merge(me_as(ALIVE, generation=5))
    assert side.membership.me == me_as(LEFT)
    assert side.news()[0] == encode(me_as(LEFT))


# -- probing -------------------------------------------------------------------------------------


def test_every_member_is_probed_within_two_rounds_of_periods() -> None:
    names = [f"n{number}" for number in range(9)]
    side, probed = Side(*names), []
    for _ in range(17):
        ping = side.probe()
        probed.append(ping.target)
        side.ack(ping)
    assert set(probed) == set(names)


def test_a_probe_that_is_acked_in_time_raises_no_suspicion() -> None:
    side = Side("b")
    for _ in range(5):
        side.ack(side.probe())
        assert side.state("b") is ALIVE
    assert side.membership.awareness.score == 0


@pytest.mark.parametrize("forgery", ["another name", "another sequence"])
def test_an_ack_from_another_name_or_to_another_sequence_is_no_ack(forgery: str) -> None:
    side = Side("b")
    ping = side.probe()
    if forgery == "another name":
        side.ack(ping, "c")
    else:
        ack = Ack(ping.sequence + 1, "b", 0, 0, SyncState.SETTLED)
        side.membership.probing.on_ack(ack, side.arrival)
    side.to_deadline()
    side.to_deadline()
    assert side.state("b") is SUSPECT
    assert record_of(side, "b").accuser == "me"


def test_a_late_ack_is_asked_for_by_others_and_over_tcp_at_the_same_time() -> None:
    side = Side("b", "c", "d", "e", "f")
    ping = side.probe()
    start_s = side.now.monotonic_s
    asked = side.to_deadline()
    assert side.now.monotonic_s == start_s + 0.5
    target = record_of(side, ping.target)
    requests = [sent for sent in asked if isinstance(sent.told, PingRequest)]
    assert len(requests) == 3
    helpers = {sent.to for sent in requests}
    assert len(helpers) == 3
    assert target.address not in helpers
    (asked_for,) = {sent.told for sent in requests if isinstance(sent.told, PingRequest)}
    assert asked_for == PingRequest(asked_for.sequence, "me", target.name, target.host, target.port)
    assert asked_for.sequence != ping.sequence
    assert [sent for sent in asked if sent not in requests] == [Sent(ping, target.address, True)]


@pytest.mark.parametrize("members", [2, 3])
def test_as_many_helpers_are_asked_as_there_are(members: int) -> None:
    side = Side(*"bcd"[: members - 1])
    side.probe()
    assert sum(isinstance(sent.told, PingRequest) for sent in side.to_deadline()) == members - 2


def test_an_ack_through_a_helper_or_over_tcp_saves_the_target() -> None:
    side = Side("b", "c")
    ping = side.probe()
    side.to_deadline()
    side.ack(ping)
    side.to_deadline()
    assert side.state(ping.target) is ALIVE


def test_a_target_that_refuted_meanwhile_is_not_suspected() -> None:
    side = Side("b")
    side.probe()
    side.merge(member("b", 1, incarnation=1))
    side.to_deadline()
    side.to_deadline()
    assert record_of(side, "b") == member("b", 1, incarnation=1)


@pytest.mark.parametrize(
    ("helpers", "nacks", "score"),
    [("", 0, 1), ("cde", 3, 0), ("cde", 1, 2), ("cde", 0, 3), ("cde", 9, 0)],
)
def test_missing_nacks_make_a_node_doubt_itself(helpers: str, nacks: int, score: int) -> None:
    side = Side("b", *helpers)
    ping = side.probe()
    asked = [
        sent.told.sequence for sent in side.to_deadline() if isinstance(sent.told, PingRequest)
    ]
    for _ in range(nacks):
        side.membership.probing.on_nack(Nack(asked[0]), side.arrival)
    side.to_deadline()
    assert side.state(ping.target) is SUSPECT
    assert side.membership.awareness.score == score


def test_without_nacks_none_is_asked_for_and_none_is_missed() -> None:
    side = Side("b", "c", "d", "e", probe_nacks=False)
    side.probe()
    requests = [sent.told for sent in side.to_deadline() if isinstance(sent.told, PingRequest)]
    assert [request.nack for request in requests] == [False] * 3
    side.to_deadline()
    assert side.membership.awareness.score == 1


def test_doubt_stretches_the_times_of_probes_and_acks_take_it_back() -> None:
    side = Side("b")
    side.membership.awareness.add(2)
    ping = side.probe()
    start_s = side.now.monotonic_s
    assert side.membership.deadline() == start_s + 3 * 0.5
    side.ack(ping)
    assert side.membership.awareness.score == 1
    assert side.membership.deadline() == start_s + 3 * 1.0


def test_the_member_of_a_broken_link_is_probed_at_once_and_suspected_by_a_probe_only() -> None:
    side = Side(*OTHERS)
    ping = side.probe()
    side.ack(ping)
    doubted = next(name for name in OTHERS if name != ping.target)
    side.membership.probing.doubt(record_of(side, doubted).address, side.now)
    assert side.membership.deadline() == side.now.monotonic_s
    began_s = side.now.monotonic_s
    assert side.probe().target == doubted
    assert side.now.monotonic_s == began_s
    assert side.state(doubted) is ALIVE
    side.to_deadline()
    side.to_deadline()
    assert side.state(doubted) is SUSPECT


def test_a_broken_link_waits_for_the_probe_under_way_and_then_takes_every_other_turn() -> None:
    side = Side(*OTHERS)
    ping = side.probe()
    doubted = next(name for name in OTHERS if name != ping.target)
    address, deadline_s = record_of(side, doubted).address, side.membership.deadline()
    side.membership.probing.doubt(address, side.now)
    assert side.membership.deadline() == deadline_s
    side.ack(ping)
    came = []
    for _ in range(8):
        came.append(side.probe())
        side.ack(came[-1])
        side.membership.probing.doubt(address, side.now)
    assert [ping.target for ping in came[::2]] == [doubted] * 4
    # a period that begins early lets the next one last its whole time
    assert side.now.monotonic_s - at().monotonic_s > 3.0


def test_a_link_with_a_stranger_or_with_the_target_of_the_probe_changes_nothing() -> None:
    side = Side("b", "c")
    ping = side.probe()
    deadline_s = side.membership.deadline()
    for address in (Address("10.9.9.9", 7481), record_of(side, ping.target).address):
        side.membership.probing.doubt(address, side.now)
    assert side.membership.deadline() == deadline_s
    side.ack(ping)
    assert side.probe().target != ping.target


# F22
def test_a_node_that_slept_gives_its_target_a_chance_before_it_suspects_it() -> None:
    side = Side("b", "c", "d", "e")
    ping = side.probe()
    side.tick(60.0)
    assert side.state(ping.target) is ALIVE
    side.ack(ping)
    side.to_deadline()
    assert side.state(ping.target) is ALIVE


def test_a_tick_does_what_is_due_and_never_twice() -> None:
    side = Side("b", "c")
    side.tick(1.0)
    assert side.tick(1.0) == []
    deadline = side.membership.deadline()
    assert side.tick(deadline - at().monotonic_s - 0.001) == []
    assert side.membership.deadline() == deadline


@given(st.lists(members, max_size=5), st.lists(st.floats(0.001, 40.0), min_size=1, max_size=12))
def test_after_two_ticks_the_next_deadline_lies_ahead(
    heard: list[Member], pauses: list[float]
) -> None:
    side, now_s = Side("b", "c", "d", "e", "f", forget_after_s=60.0), 0.0
    for told in heard:
        side.merge(told)
    side.ask(PingRequest(9, "b", "c", "10.0.0.3", 7481), address_of(1))
    for pause_s in pauses:
        now_s += pause_s
        side.tick(now_s)
        side.tick(now_s)
        assert side.membership.deadline() > side.now.monotonic_s


# -- suspicion -----------------------------------------------------------------------------------


def test_a_suspect_that_does_not_refute_is_dead_at_the_deadline_and_not_before() -> None:
    side = Side("b")
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    side.tick(3.999)
    assert side.state("b") is SUSPECT
    side.tick(4.0)
    assert record_of(side, "b") == member("b", 1, DEAD)


def test_a_suspect_that_refutes_is_alive_and_its_old_suspicion_never_ends_it() -> None:
    side = Side("b")
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    side.merge(member("b", 1, incarnation=1))
    side.merge(member("b", 1, SUSPECT, accuser="y"))
    side.tick(100.0)
    assert side.state("b") is not DEAD


def test_confirmations_by_others_end_a_suspicion_sooner_and_are_passed_on_once_each() -> None:
    side = Side("b", "c", "d", "e", "f")
    side.merge(member("b", 1, SUSPECT, accuser="v"))
    while side.membership.has_news:
        side.news()
    passed: list[str] = []
    for accuser in "vwxxyz":
        side.merge(member("b", 1, SUSPECT, accuser=accuser))
        if side.membership.has_news:
            passed.append(accuser)
            while side.membership.has_news:
                assert side.news() == [encode(member("b", 1, SUSPECT, accuser=accuser))]
    assert passed == ["w", "x", "y"]
    side.tick(3.9)
    assert side.state("b") is SUSPECT
    side.tick(4.0)
    side.tick(4.0)
    assert side.state("b") is DEAD


def test_a_new_suspicion_of_the_next_incarnation_starts_its_time_again() -> None:
    side = Side("b")
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    side.tick(3.0)
    side.merge(member("b", 1, SUSPECT, incarnation=1, accuser="x"))
    side.tick(6.9)
    assert side.state("b") is SUSPECT
    side.tick(7.1)
    assert side.state("b") is DEAD


# -- the dead ------------------------------------------------------------------------------------


def test_each_period_one_dead_member_is_pinged_and_never_one_that_left() -> None:
    side = Side("b", "c", "d")
    side.merge(member("b", 1, DEAD))
    side.merge(member("c", 2, LEFT))
    pinged = []
    for _ in range(8):
        pings = [sent.told for sent in side.to_deadline() if isinstance(sent.told, Ping)]
        pinged += [ping.target for ping in pings]
        side.ack(pings[0])
    assert pinged == ["d", "b"] * 8


def test_gossip_goes_to_the_dead_for_a_while_so_that_they_can_refute() -> None:
    side = Side("b", "c", gossip_to_dead_s=30.0)
    side.merge(member("b", 1, DEAD))
    assert {peer.name for peer in side.membership.gossip_targets(3, at(29.9))} == {"b", "c"}
    assert {peer.name for peer in side.membership.gossip_targets(3, at(30.1))} == {"c"}


def test_who_came_back_is_probed_again() -> None:
    side = Side("b")
    side.merge(member("b", 1, DEAD))
    side.tick(2.0)
    side.merge(member("b", 1, generation=2))
    assert side.state("b") is ALIVE
    assert side.membership.dead() == []
    assert side.probe().target == "b"


def test_lesson_10_a_restart_takes_over_at_once_also_under_a_new_address() -> None:
    side = Side("b")
    side.merge(member("b", 5, generation=2, site=99))
    assert record_of(side, "b").address == address_of(5)
    assert side.membership.name_at(address_of(5)) == "b"
    assert side.membership.name_at(address_of(1)) == ""
    # and nothing that was said of the life before comes back
    for stale in (
        member("b", 1, ALIVE, incarnation=50),
        member("b", 1, DEAD),
        member("b", 1, LEFT),
    ):
        side.merge(stale)
    assert record_of(side, "b").address == address_of(5)


def test_lesson_11_of_two_names_at_one_address_the_later_life_stays_in_any_order() -> None:
    old, new = member("b", 1, generation=5), member("c", 1, generation=9)
    for order in permutations([old, new]):
        side = Side()
        for told in order:
            side.merge(told)
        assert (side.state("b"), side.state("c")) == (LEFT, ALIVE)
        # whoever still tells of the old name cannot bring it back
        side.merge(old)
        assert [peer.name for peer in side.membership.reachable] == ["c"]
        assert side.membership.name_at(address_of(1)) == "c"


def test_lesson_11_a_name_that_died_at_an_address_goes_when_another_one_lives_there() -> None:
    side = Side("b")
    side.merge(member("b", 1, DEAD))
    side.merge(member("c", 1, generation=2))
    assert (side.state("b"), side.state("c")) == (LEFT, ALIVE)
    assert side.membership.dead() == []


def test_lesson_11_a_name_that_moved_away_stays_when_another_one_takes_its_old_address() -> None:
    side = Side("b")
    side.merge(member("b", 5, generation=2))
    side.merge(member("c", 1, generation=3))
    assert (side.state("b"), side.state("c")) == (ALIVE, ALIVE)


def test_lesson_11_an_earlier_name_of_our_own_has_left_and_nobody_replaces_us() -> None:
    side = Side()
    side.merge(member("before", 0, generation=WALL_MS - 5))
    side.merge(member("liar", 0, generation=WALL_MS + 5))
    assert side.state("before") is LEFT
    assert side.membership.me.state is ALIVE


# -- relays --------------------------------------------------------------------------------------


def test_a_relay_pings_under_its_own_number_and_passes_the_ack_on_under_the_askers() -> None:
    side = Side("b", "c")
    (sent,) = side.ask(PingRequest(500, "b", "c", "10.0.0.3", 7481), address_of(1))
    assert isinstance(sent.told, Ping)
    assert (sent.told.target, sent.to, sent.reliable) == ("c", Address("10.0.0.3", 7481), False)
    assert sent.told.sequence != 500
    side.ack(sent.told)
    assert side.sent[-1] == Sent(Ack(500, "c", 0, 0, SyncState.SETTLED), address_of(1), False)
    side.ack(sent.told)
    assert len([entry for entry in side.sent if isinstance(entry.told, Ack)]) == 1


def test_a_relay_says_nack_in_time_for_the_asker_and_forgets_after_the_period() -> None:
    side = Side("b", "c")
    side.tick(1.0)
    side.ask(PingRequest(500, "b", "c", "10.0.0.3", 7481), address_of(1))
    nacks = []
    for step in range(1, 30):
        nacks += [
            (step, sent) for sent in side.tick(1.0 + step / 20) if isinstance(sent.told, Nack)
        ]
    assert nacks == [(8, Sent(Nack(500), address_of(1), False))]


def test_a_relay_says_no_nack_to_who_wants_none() -> None:
    side = Side("b", "c")
    side.tick(1.0)
    side.ask(PingRequest(500, "b", "c", "10.0.0.3", 7481, nack=False), address_of(1))
    assert not any(
        isinstance(sent.told, Nack) for step in range(1, 30) for sent in side.tick(1.0 + step / 20)
    )


def test_a_late_ack_is_still_passed_on_after_the_nack() -> None:
    side = Side("b", "c")
    (sent,) = side.ask(PingRequest(500, "b", "c", "10.0.0.3", 7481), address_of(1))
    side.tick(0.45)
    assert isinstance(sent.told, Ping)
    side.ack(sent.told)
    assert side.sent[-1].told == Ack(500, "c", 0, 0, SyncState.SETTLED)


def test_relays_are_bounded() -> None:
    side = Side("b")
    for number in range(RELAYS_MAX + 50):
        side.ask(PingRequest(number, "b", "c", "10.0.0.3", 7481), address_of(1))
    assert sum(isinstance(sent.told, Ping) for sent in side.sent) == RELAYS_MAX
    side.tick(5.0)
    assert side.ask(PingRequest(1, "b", "c", "10.0.0.3", 7481), address_of(1))


# -- the news ------------------------------------------------------------------------------------


def drain(side: Side) -> None:
    while side.membership.has_news:
        side.news()


@pytest.mark.parametrize(("others", "times"), [(1, 4), (8, 4), (9, 8), (10, 8)])
def test_news_is_sent_multiplier_times_log_n_times(others: int, times: int) -> None:
    side = Side(*(f"n{number:02}" for number in range(others)))
    drain(side)
    side.merge(member("n00", 1, DEAD))
    sent = 0
    while side.membership.has_news:
        assert side.news() == [encode(member("n00", 1, DEAD))]
        sent += 1
    assert sent == times


def test_newer_news_about_a_name_replaces_older_news() -> None:
    side = Side("b")
    drain(side)
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    side.news()
    side.merge(member("b", 1, DEAD))
    assert side.news() == [encode(member("b", 1, DEAD))]


def test_the_least_sent_news_goes_first_and_what_has_no_room_waits() -> None:
    side = Side("b", "c")
    drain(side)
    one, other = member("b", 1, incarnation=1), member("c", 2, incarnation=1)
    side.merge(one)
    room = len(encode(one))
    assert side.news(room) == [encode(one)]
    side.merge(other)
    assert side.news(room) == [encode(other)]
    assert side.news(room - 1) == []
    assert side.news(2 * room) == [encode(one), encode(other)]


@given(st.integers(0, 400), st.integers(1, 12))
def test_news_never_takes_more_than_its_room(room: int, count: int) -> None:
    side = Side(*(f"name-{number:02}" for number in range(count)))
    assert sum(map(len, side.news(room))) <= room


# F36
def test_the_news_that_waits_is_bounded_also_where_there_is_nobody_to_tell() -> None:
    side = Side("b")
    for generation in range(2, 2000):
        side.merge(member("b", 1, DEAD, generation=generation))
    assert len(side.membership.dissemination) <= 100
    assert encode(member("b", 1, DEAD, generation=1999)) in side.news()


def test_what_nobody_could_use_is_not_told() -> None:
    side = Side("b", forget_after_s=1.0)
    drain(side)
    side.merge(member("b", 1, DEAD))
    side.tick(5.0)
    assert side.state("b") is None
    assert side.news() == []


@pytest.mark.parametrize("order", list(permutations(["suspect", "refuted", "dead"])))
def test_the_news_of_one_period_end_alike_in_any_order(order: tuple[str, ...]) -> None:
    told = {
        "suspect": member("b", 1, SUSPECT, accuser="x"),
        "refuted": member("b", 1, incarnation=1),
        "dead": member("b", 1, DEAD),
    }
    side = Side("b")
    for name in order:
        side.merge(told[name])
    assert record_of(side, "b") == told["dead"]
