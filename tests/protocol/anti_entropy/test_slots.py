"""An exchange has an end, and nobody keeps a node from the others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvgossip.config import Address
from kvgossip.protocol.anti_entropy.initiator import Exchange
from kvgossip.protocol.anti_entropy.slots import (
    EXCHANGES_MAX,
    LEAST_BYTES_PER_S,
    PATIENCE,
    Slots,
)
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.batching import Room, pack
from kvgossip.protocol.wire.exchange_messages import Compare, Decoded, Entries, Sketch, Want
from kvgossip.protocol.wire.message import Ack, Message
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, address_of, at, make_replica, member, told

GHOSTS = 4
ANSWER_S = 8.0
TIMEOUT_S = 10.0


class Ghosts:
    """Members that answer every question with next to nothing, shortly before they would be given
    up; and one, `b`, that answers at once that nothing differs."""

    def __init__(self) -> None:
        self.replica: Replica = make_replica(
            "a", push_pull_interval_s=3600.0, probe_interval_s=600.0, exchange_timeout_s=TIMEOUT_S
        )
        self.names = [f"ghost{number}" for number in range(GHOSTS)]
        for place, name in enumerate([*self.names, "b"], 1):
            self.replica.pools.lan.membership.merge(member(name, place), at())
        self.replica.put("k", b"v", at())
        self.seconds = 5.0
        #: answers that are due: when, from where, what
        self.due: list[tuple[float, Address, Message]] = []
        #: when exchanges with `b` began, and with how many ghosts
        self.began_s: list[float] = []
        self.ghosts_met = 0

    def hear(self, effects: list[Effect]) -> None:
        for to, asked in told(LAN, effects):
            if not isinstance(asked, (Sketch, Compare, Want)):
                continue
            is_first = not isinstance(asked, Want) and asked.request == 1
            if to == address_of(GHOSTS + 1):
                self.began_s += [self.seconds] * is_first
                self.due.append((self.seconds, to, self.decoded(asked, 0)))
            elif isinstance(asked, Want):
                drop = Entries(asked.exchange, asked.request, 1, (), b"")
                self.due.append((self.seconds + ANSWER_S, to, drop))
            else:
                self.ghosts_met += is_first
                self.due.append((self.seconds, to, self.decoded(asked, 250)))

    def decoded(self, asked: Sketch | Compare | Want, offered: int) -> Message:
        numbers = pack("Q", range(1 << 60, (1 << 60) + offered))
        return Decoded(asked.exchange, asked.request, 4, (), numbers, b"", 0, SyncState.SETTLED)

    def see(self, name: str, place: int) -> None:
        ack = Ack(1, name, 5, at(self.seconds).wall_ms, SyncState.SETTLED)
        data = LAN.frame([encode(ack)])
        self.hear(self.replica.receive(data, address_of(place), at(self.seconds)))

    def run(self, seconds: float) -> None:
        end_s = self.seconds + seconds
        while self.seconds < end_s:
            for place, name in enumerate([*self.names, "b"], 1):
                self.see(name, place)
            for each in [each for each in self.due if each[0] <= self.seconds]:
                self.due.remove(each)
                _, source, answer = each
                data = LAN.frame([encode(answer)], reliable=True)
                self.hear(self.replica.receive(data, source, at(self.seconds), reliable=True))
            for _ in range(5):
                self.hear(self.replica.tick(at(self.seconds)))
            self.seconds += 0.5


def test_four_slow_answerers_do_not_keep_a_node_from_the_others() -> None:
    net = Ghosts()
    net.run(60.0)
    assert net.ghosts_met >= EXCHANGES_MAX, "the ghosts hold the slots"
    assert net.began_s
    assert net.began_s[0] <= 5.0 + GHOSTS / EXCHANGES_MAX * TIMEOUT_S + 1.0
    assert net.replica.statistics()["exchanges_too_slow"] >= EXCHANGES_MAX
    before = len(net.began_s)
    net.run(300.0)
    # from now on they are known to be slow, and have one slot of two
    assert len(net.began_s) - before > 50


def test_a_cut_exchange_leaves_nothing_behind() -> None:
    net = Ghosts()
    net.run(400.0)
    exchanges = net.replica.pools.lan.exchanges
    assert len(exchanges._slots.running) <= EXCHANGES_MAX
    assert exchanges.started == exchanges.completed + exchanges.cut + len(exchanges._slots.running)


# -- the choice ----------------------------------------------------------------------------------


def begun(slots: Slots, number: int, peer: str, began_s: float = 0.0) -> Exchange:
    store = Store(DigestTree(1, 7))
    exchange = Exchange(number, peer, address_of(1), store, Room(1000))
    exchange.began_s = began_s
    slots.running[number] = exchange
    return exchange


def start(slots: Slots, number: int, began_s: float = 0.0) -> Exchange | None:
    turn = slots.next()
    return None if turn is None else begun(slots, number, turn[0], began_s)


def test_an_exchange_that_brings_enough_has_no_end() -> None:
    slots = Slots(TIMEOUT_S)
    exchange = begun(slots, 1, "b")
    assert slots.end_s(exchange) == PATIENCE * TIMEOUT_S
    exchange.brought_bytes = 3600 * LEAST_BYTES_PER_S
    assert slots.end_s(exchange) == PATIENCE * TIMEOUT_S + 3600


def test_where_others_wait_a_slow_one_makes_room_sooner() -> None:
    slots = Slots(TIMEOUT_S)
    exchange = begun(slots, 1, "b")
    slots.wait("c", differs=True)
    assert slots.end_s(exchange) == TIMEOUT_S


def test_a_slow_one_does_not_push_out_one_that_is_not() -> None:
    slots = Slots(TIMEOUT_S)
    slots.cut(begun(slots, 1, "slow"), slow=True)
    exchange = begun(slots, 2, "b")
    slots.wait("slow", differs=True)
    assert slots.end_s(exchange) == PATIENCE * TIMEOUT_S


def test_slow_ones_leave_a_slot_until_an_exchange_with_them_completes() -> None:
    slots = Slots(TIMEOUT_S)
    for number, peer in enumerate(("x", "y")):
        slots.cut(begun(slots, number, peer), slow=True)
        slots.wait(peer, differs=True)
    first = start(slots, 5)
    assert first is not None
    assert first.peer == "x"
    assert slots.next() is None
    slots.completed(first)
    slots.wait("x", differs=True)
    assert slots.next() == ("x", True)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=60))
def test_a_slot_is_never_given_to_the_same_peer_twice_in_a_row_while_others_of_its_kind_wait(
    steps: list[tuple[int, bool]],
) -> None:
    slots, last, number = Slots(TIMEOUT_S), "", 0
    for peer, slow in steps:
        slots.wait(f"n{peer}", differs=True)
        waited = [name for name in slots._waiting if name not in slots._slow]
        exchange = start(slots, number)
        number += 1
        if exchange is None:
            continue
        if exchange.peer == last and exchange.peer not in slots._slow:
            assert waited == [last]
        last = exchange.peer
        if slow:
            slots.cut(exchange, slow=True)
        else:
            slots.completed(exchange)
