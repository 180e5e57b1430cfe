"""Thousands of names that somebody invents: what they cost is counted in steps, and neither rumors
nor exchanges nor the disk are for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import pytest
from msgspec.structs import replace

from kvgossip.config import Address
from kvgossip.protocol.effect import Effect, Log
from kvgossip.protocol.membership.proofs import CROWD_MIN
from kvgossip.protocol.membership.suspicion import OVERDUE_AT_ONCE
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.saved_state import SavedPeer, peer_fact
from kvgossip.protocol.wire.message import Gossip, Ping
from kvgossip.protocol.wire.unit import encode
from tests.protocol.membership.side import Side
from tests.protocol.net import LAN, STRANGER, at, make_replica, member, prove, sends, told
from tests.steps import steps

ALIVE, SUSPECT, DEAD, LEFT = MemberState
A_DATAGRAM = 12
FEW, MANY = 150, 900
B = member("b", 1)


def invented(number: int, state: MemberState = ALIVE, incarnation: int = 0) -> Member:
    """No two are at one address."""
    return Member(
        f"x{number:05}", f"10.77.{number >> 8}.{number & 255}", 7481, state, 1, incarnation,
        number + 9, "dc1", accuser="b" if state is SUSPECT else "",
    )  # fmt: skip


class Flooded:
    """A replica that knows b, which has answered, and so many invented names; its table is full.
    Time stands still."""

    def __init__(self, names: int, state: MemberState = ALIVE) -> None:
        self.replica, self.now, self.count = make_replica("a", members_max=names), at(), 0
        self.effects: list[Effect] = []
        self.hear(B)
        prove(self.replica, "b")
        while self.count < names + A_DATAGRAM:
            self.hear_more(state)

    def hear(self, *members: Member) -> None:
        data = LAN.frame([encode(each) for each in members])
        self.do(lambda: self.replica.receive(data, STRANGER, self.now))

    def hear_more(self, state: MemberState = ALIVE) -> None:
        numbers = range(self.count, self.count + A_DATAGRAM)
        self.count += A_DATAGRAM
        self.hear(*(invented(number) for number in numbers))
        if state is not ALIVE:
            self.hear(*(invented(number, state) for number in numbers))

    def do(self, given: Callable[[], Iterable[Effect]]) -> None:
        """An input, as a driver hands it in."""
        self.effects += given()
        self.replica.deadline()

    def write(self) -> None:
        self.do(lambda: self.replica.put("k", b"v", self.now).effects)

    def tick(self) -> None:
        self.do(lambda: self.replica.tick(self.now))

    def run(self, seconds: float) -> None:
        until_s = self.now.monotonic_s + seconds
        while (due_s := self.replica.deadline() or until_s) < until_s:
            passed_s = max(0.0, due_s - self.now.monotonic_s)
            self.now = Now(self.now.monotonic_s + passed_s, self.now.wall_ms + int(1000 * passed_s))
            self.tick()


@pytest.mark.parametrize("state", [ALIVE, SUSPECT, DEAD, LEFT])
def test_an_input_is_no_more_work_however_many_names_were_invented(state: MemberState) -> None:
    def work(names: int) -> dict[str, int]:
        flooded = Flooded(names, state)
        flooded.tick()
        asked = LAN.frame([encode(Gossip(1, "x"))])
        return {
            "names": steps(lambda: flooded.hear_more(state)),
            "a write": steps(flooded.write),
            "a tick": steps(flooded.tick),
            "a packet": steps(
                lambda: flooded.do(lambda: flooded.replica.receive(asked, STRANGER, flooded.now))
            ),
        }

    few, many = work(FEW), work(MANY)
    assert {what: count for what, count in many.items() if count > 1.2 * few[what] + 200} == {}


@pytest.mark.parametrize("state", [ALIVE, SUSPECT])
def test_seconds_are_no_more_work_however_many_names_were_invented(state: MemberState) -> None:
    few, many = (
        steps(partial(flooded.run, 3.0)) for flooded in (Flooded(FEW, state), Flooded(MANY, state))
    )
    assert many < 1.5 * few


def test_rumors_and_members_are_told_to_those_alone_that_have_answered() -> None:
    flooded = Flooded(4 * CROWD_MIN)
    flooded.effects.clear()
    flooded.write()
    flooded.run(5.0)
    pings = [
        sent.to
        for sent in sends(flooded.effects)
        if any(isinstance(message, Ping) for _, message in told(LAN, [sent]))
    ]
    others = {sent.to for sent in sends(flooded.effects) if sent.to not in pings}
    assert others <= {Address(B.host, B.port)}
    assert flooded.replica.pools.lan.membership.table.peers == [B]
    assert not flooded.replica.pools.lan.membership.table.is_whole


def test_the_digest_of_the_members_does_not_change_with_invented_names() -> None:
    flooded = Flooded(4 * CROWD_MIN)
    table = flooded.replica.pools.lan.membership.table
    before = table.digest
    flooded.hear_more()
    assert table.digest == before
    flooded.hear(member("b", 1, incarnation=5))
    assert table.digest != before


def test_names_of_a_crowd_are_kept_on_the_disk_once_they_have_answered() -> None:
    flooded = Flooded(4 * CROWD_MIN)
    flooded.effects.clear()
    flooded.hear_more()
    assert peers_in(flooded.effects) == []
    last = flooded.replica.pools.lan.membership.members[f"x{flooded.count - 1:05}"]
    prove(flooded.replica, last.name)
    flooded.tick()
    (kept,) = peers_in(flooded.effects)
    assert kept == peer_fact(PoolKind.LAN, last.name, SavedPeer(last.host, last.port, 0))


def peers_in(effects: list[Effect]) -> list[Persist]:
    begin = peer_fact(PoolKind.LAN, "", None).key
    facts = [each for each in effects if isinstance(each, Persist)]
    return [each for each in facts if each.key.startswith(begin) and each.value is not None]


def test_members_that_somebody_invents_and_lets_die_again_and_again_are_two_lines_a_minute() -> (
    None
):
    replica: Replica = make_replica("a")
    effects: list[Effect] = []
    for generation in range(1, 30):
        for state in (ALIVE, DEAD):
            members = [
                replace(invented(number, state), generation=generation)
                for number in range(A_DATAGRAM)
            ]
            data = LAN.frame([encode(each) for each in members])
            effects += replica.receive(data, STRANGER, at(generation))
    lines = [each.text for each in effects if isinstance(each, Log) and "partition" in each.text]
    assert len(lines) == 2


def test_suspects_that_are_overdue_together_die_some_at_a_time() -> None:
    names = [f"n{number:03}" for number in range(3 * OVERDUE_AT_ONCE)]
    side = Side()
    for place, name in enumerate(names, 1):
        side.merge(member(name, 1, port=7000 + place))
        side.prove(name)
        side.merge(member(name, 1, SUSPECT, port=7000 + place, accuser="b"))
    changes, seen = side.membership.changes, list[int]()
    for _ in range(4):
        changes.clear()
        side.tick(1000.0)
        seen.append(sum(new is not None and new.state is DEAD for _, new in changes))
    assert seen == [OVERDUE_AT_ONCE] * 3 + [0]
    assert side.membership.deadline() > at(1000.0).monotonic_s


def test_once_a_crowd_has_answered_all_of_it_is_probed() -> None:
    side = Side("b")
    side.prove("b")
    names = [f"x{number}" for number in range(CROWD_MIN + 10)]
    for place, name in enumerate(names, 2):
        side.merge(member(name, place))
        assert side.state(name) is ALIVE
    for name in names:
        side.prove(name)
    probed = dict.fromkeys(side.probe().target for _ in range(3 * len(names)))
    assert probed.keys() == {"b", *names}
