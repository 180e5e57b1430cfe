"""The phases of a connection on the express lane: the table is whole, a connection makes every
change that it has, and whatever clients, disk and clock do, it makes no other."""

from __future__ import annotations

import asyncio
import math
import re
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.api.access.client import Client
from kvgossip.api.access.doors import Doors
from kvgossip.api.access.rights import Access, Caller
from kvgossip.api.http.precondition import Condition
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.keys import Keys, Reply
from kvgossip.api.lanes.connections import REFUSALS_MAX, Connection, Connections
from kvgossip.api.lanes.fast import Lane
from kvgossip.api.lanes.phase import ENDING, LISTENING, REQUESTING, TRANSITIONS, Event, Phase
from kvgossip.config import Config
from kvgossip.errors import LocalError
from kvgossip.runtime.node import Node

CONFIG = Config()
GET = "GET /kv/{n} HTTP/1.1\r\nHost: n\r\n\r\n"
LAST_GET = "GET /kv/{n} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n"
LISTS = "GET /kv?n={n} HTTP/1.1\r\nHost: n\r\n\r\n"
PUT_HEAD = "PUT /kv/{n} HTTP/1.1\r\nHost: n\r\nContent-Length: 2\r\n\r\n"
PUT = PUT_HEAD + "xx"
PART = "GET /kv/"
PIECES = (
    GET,
    LAST_GET,
    LISTS,
    PUT_HEAD,
    PUT,
    PART,
    "x",
    "xx",
    "\r\n",
    "\x16\x03",
    "A" * (CONFIG.http_head_bytes_max + 1),
)


class FakeNode:
    settled = True
    last_exchange_age_s = None
    stale_s = None


class Another:
    """A connection of a client that has one, and asks for something."""

    def __init__(self, number: int) -> None:
        self.client = Client(f"client {number}", False, "")

    def is_idle(self) -> bool:
        return False


class SlowKeys:
    """Answers with the key; writes are on the disk when the test says so."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.access = Access()
        self.writes: list[asyncio.Future[None]] = []

    def get(self, key: str, condition: Condition | None, caller: Caller | None) -> Answer:
        return self._answers.octets(200, f"<{key}>".encode(), "")

    def put(
        self,
        key: str,
        value: bytes,
        kind: str | None,
        condition: Condition | None,
        caller: Caller | None,
    ) -> Reply:
        self.writes.append(asyncio.get_running_loop().create_future())
        return Reply(self.get(key, None, caller), self.writes[-1])


class FakeTransport:
    """Keeps to asyncio's contract: no data while it is paused, closed or at its end."""

    def __init__(self, lane: Lane) -> None:
        self.lane, self.sent = lane, b""
        self.closing = self.paused = self.ended = self.choked = self.lost = False

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        self.sent += b"" if self.closing else data

    def write_eof(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 1000

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.lose)

    abort = close

    def lose(self) -> None:
        self.closing = True
        if not self.lost and self.lane._phase is not Phase.GONE:
            self.lost = True
            self.lane.connection_lost(None)


class RecordingLane(Lane):
    """Remembers every change of its phase."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.steps: list[tuple[Phase, Event]] = []

    def _step(self, event: Event) -> None:
        self.steps.append((self._phase, event))
        super()._step(event)


class World:
    """One connection, and all that can happen to it. `others`: how many there are already."""

    def __init__(self, others: int = 0) -> None:
        self.connections = Connections(CONFIG)
        for number in range(others):
            self.connections.opened(cast(Connection, Another(number)))
        answers = Answers(cast(Node, FakeNode()))
        self.keys = SlowKeys(answers)
        self.taken_over: list[bytes] = []
        self.requests = 0
        self.lane = RecordingLane(
            CONFIG, cast(Keys, self.keys), answers, self.connections, cast(Any, self), Doors(CONFIG)
        )
        self.transport = FakeTransport(self.lane)
        self.failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: self.failures.append(context)
        )
        self.lane.connection_made(cast(asyncio.Transport, self.transport))

    def take_over(
        self, lane: Lane, transport: asyncio.Transport, data: bytes, *, at_end: bool
    ) -> None:
        self.taken_over.append(data)

    def do(self, action: str) -> None:
        """`action`: a piece of what a client sends, or the name of a method."""
        lane, transport = self.lane, self.transport
        gone = transport.closing or lane._phase is Phase.GONE
        if action == "settle" or action == "fail":
            self._settle(LocalError("no") if action == "fail" else None)
        elif gone:
            return
        elif action == "overdue":
            if lane.due_s < math.inf:
                lane.overdue()
        elif action == "stop":
            self.connections.stopping = True
            lane.finish()
        elif action == "lose":
            transport.lose()
        elif action == "choke":
            if transport.choked:
                transport.choked = False
                lane.resume_writing()
            else:
                transport.choked = True
                lane.pause_writing()
        elif not (transport.ended or transport.paused):
            self._send(action)

    def _send(self, action: str) -> None:
        if action == "end":
            self.transport.ended = True
            if not self.lane.eof_received():
                self.transport.close()
            return
        self.requests += 1
        self.lane.data_received(action.replace("{n}", str(self.requests)).encode())

    def _settle(self, error: Exception | None) -> None:
        write = next((each for each in self.keys.writes if not each.done()), None)
        if write is not None and error is None:
            write.set_result(None)
        elif write is not None and error is not None:
            write.set_exception(error)

    def check(self) -> None:
        lane = self.lane
        assert not self.failures
        if lane._phase in LISTENING:
            assert (lane._missing > 0) == (lane._phase is Phase.BODY)
        assert (lane._transport is None) == (lane._phase in (Phase.NEW, Phase.GONE))
        assert bool(self.taken_over) == ((Phase.LEAVING, Event.TAKEN_OVER) in lane.steps)
        keys = [int(key) for key in re.findall(rb"<(\d+)>", self.transport.sent)]
        assert keys == sorted(set(keys))


ACTIONS = ("turn", "settle", "fail", "overdue", "stop", "lose", "choke", "end")
FULL = CONFIG.http_connections_max


async def happens(actions: list[str], others: int = 0) -> World:
    world = World(others)
    world.check()
    for action in actions:
        if action == "turn":
            await asyncio.sleep(0)
        else:
            world.do(action)
        world.check()
    return world


@given(
    actions=st.lists(st.sampled_from(PIECES + ACTIONS), max_size=30),
    others=st.sampled_from([0] * 8 + [FULL, FULL + REFUSALS_MAX]),
)
def test_whatever_happens_a_connection_keeps_to_the_table(actions: list[str], others: int) -> None:
    async def main() -> None:
        world = await happens(actions, others)
        world.do("lose")
        await asyncio.sleep(0)
        world.check()
        assert world.lane._phase is Phase.GONE

    asyncio.run(main())


PLAYS: dict[tuple[Phase, Event], list[str]] = {
    (Phase.NEW, Event.WELCOMED): [],
    (Phase.IDLE, Event.HEAD_BEGAN): [PART],
    (Phase.IDLE, Event.BODY_BEGAN): [PUT_HEAD],
    (Phase.IDLE, Event.LEFT): [LISTS],
    (Phase.IDLE, Event.LAST_QUEUED): [PUT, LAST_GET],
    (Phase.IDLE, Event.LINGERS): ["\x16\x03"],
    (Phase.IDLE, Event.CLOSES): [LAST_GET],
    (Phase.IDLE, Event.LOST): [GET, "lose"],
    (Phase.HEAD, Event.HEAD_ENDED): [PART, "a HTTP/1.1\r\nHost: n\r\n\r\n"],
    (Phase.HEAD, Event.LINGERS): [PART, "overdue"],
    (Phase.HEAD, Event.CLOSES): [PART, "choke", "end", "choke", "turn"],
    (Phase.HEAD, Event.LOST): [PART, "lose"],
    (Phase.BODY, Event.BODY_ENDED): [PUT_HEAD, "xx"],
    (Phase.BODY, Event.LINGERS): [PUT_HEAD, "overdue"],
    (Phase.BODY, Event.CLOSES): [PUT, PUT_HEAD, "end", "settle", "turn"],
    (Phase.BODY, Event.LOST): [PUT_HEAD, "lose"],
    (Phase.LEAVING, Event.TAKEN_OVER): [PUT, LISTS, "settle", "turn"],
    (Phase.LEAVING, Event.LOST): [PUT, LISTS, "lose"],
    (Phase.LAST, Event.LINGERS): [PUT, "\x16\x03", "settle", "turn"],
    (Phase.LAST, Event.CLOSES): [PUT, LAST_GET, "settle", "turn"],
    (Phase.LAST, Event.LOST): [PUT, LAST_GET, "lose"],
    (Phase.LINGERING, Event.LOST): ["\x16\x03", "lose"],
    (Phase.CLOSING, Event.LOST): [LAST_GET, "turn"],
}
PLAYS_OF_THE_UNWELCOME: dict[tuple[Phase, Event], list[str]] = {
    (Phase.NEW, Event.REFUSED): [],
    (Phase.UNWELCOME, Event.LINGERS): [GET],
    (Phase.UNWELCOME, Event.CLOSES): ["stop"],
    (Phase.UNWELCOME, Event.LOST): ["lose"],
}


@pytest.mark.parametrize(("change", "actions"), PLAYS.items())
async def test_a_connection_makes_this_change(
    change: tuple[Phase, Event], actions: list[str]
) -> None:
    assert change in (await happens(actions)).lane.steps


@pytest.mark.parametrize(("change", "actions"), PLAYS_OF_THE_UNWELCOME.items())
async def test_a_connection_too_many_makes_this_change(
    change: tuple[Phase, Event], actions: list[str]
) -> None:
    assert change in (await happens(actions, FULL)).lane.steps


async def test_a_connection_far_too_many_is_cut_off() -> None:
    lane = (await happens(["turn", "turn"], FULL + REFUSALS_MAX)).lane
    assert lane.steps == [(Phase.NEW, Event.CUT_OFF), (Phase.CLOSING, Event.LOST)]


def test_every_change_of_the_table_is_played() -> None:
    played = {*PLAYS, *PLAYS_OF_THE_UNWELCOME, (Phase.NEW, Event.CUT_OFF)}
    assert played == {(phase, event) for phase, row in TRANSITIONS.items() for event in row}


def test_the_table_has_every_phase_and_all_end() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert not TRANSITIONS[Phase.GONE]
    assert _reached_from(Phase.NEW) == set(Phase)
    for phase in set(Phase) - {Phase.GONE}:
        assert Phase.GONE in _reached_from(phase)
    for phase in ENDING:
        assert _reached_from(phase) <= ENDING, "no way back"
    assert REQUESTING < LISTENING
    assert not LISTENING & ENDING


def _reached_from(start: Phase) -> set[Phase]:
    reached, new = {start}, [start]
    while new:
        for phase in TRANSITIONS[new.pop()].values():
            if phase not in reached:
                reached.add(phase)
                new.append(phase)
    return reached
