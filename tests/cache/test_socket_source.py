"""Who follows over a Unix socket believes no nonsense, and goes on looking for a member."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvgossip import Writing
from kvgossip.cache.line import (
    FRAME_BYTES_MAX,
    FROM_FOLLOWER,
    HELLO_BYTES_MAX,
    VERSION,
    Frames,
    FromMember,
    Hello,
    Plant,
    Planted,
    Records,
    Refused,
    StateChanged,
    decoded,
    framed,
)
from kvgossip.cache.seat import Seat
from kvgossip.cache.socket_source import SocketSource
from kvgossip.cache.source import Record, SourceState
from kvgossip.errors import ConfigError, NoMemberError
from tests.cache.sinks import PATIENCE_S, Remembering

STATE = SourceState("member", "n1", "z1", "dc1", True, 5, from_disk=False)
A, B, C = (Record(key, key.encode(), f"v{key}") for key in "abc")


class Member:
    """One that says what a test wants, to one follower after the other."""

    def __init__(self, folder: Path) -> None:
        self.seat = Seat(str(folder))
        assert self.seat.take()
        self._listener = self.seat.listen()
        self._listener.settimeout(PATIENCE_S)

    def accept(self) -> socket.socket:
        """The next follower, who has said hello."""
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE_S)
        assert connection.recv(HELLO_BYTES_MAX).startswith(framed(Hello(VERSION, "shop/")))
        return connection

    def close(self) -> None:
        self._listener.close()
        self.seat.release()


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    member = Member(tmp_path)
    yield member
    member.close()


@contextmanager
def following(
    member: Member,
    between: Callable[[], bool] = lambda: False,
    lacking: Callable[[], list[Record]] = list,
) -> Iterator[tuple[SocketSource, Remembering]]:
    sink = Remembering()
    source = SocketSource(Seat(member.seat.folder), "shop/", between, lacking)
    # it waits for its member, which is on this thread
    opening = threading.Thread(target=source.open, args=(sink,))
    opening.start()
    try:
        yield source, sink
    finally:
        opening.join()
        source.close()


def say(connection: socket.socket, *messages: FromMember) -> None:
    connection.sendall(b"".join(map(framed, messages)))


def records(*found: Record, anew: bool = False, more: bool = False) -> Records:
    return Records(found, anew, more)


def test_portions_are_shown_once_they_are_whole(member: Member) -> None:
    with following(member) as (_, sink), member.accept() as connection:
        say(
            connection, StateChanged(STATE), records(A, anew=True, more=True), records(B, more=True)
        )
        say(connection, records(Record("a", None, "v2"), more=True), records())
        sink.until(lambda each: each.calls == [("replaced", ("b",))])
        say(connection, records(A, more=True), records(Record("b", None, "v2")))
        sink.until(lambda each: each.calls[1:] == [("changed", ("a", "b"))])
        assert sink.table == {"a": b"a"}
        state = sink.states[-1]
        assert (state.role, state.node, state.settled) == ("follower", "n1", True)


def test_values_stay_while_there_is_no_member(member: Member) -> None:
    with following(member) as (_, sink):
        with member.accept() as connection:
            say(connection, StateChanged(STATE), records(A, anew=True))
            sink.until(lambda each: bool(each.calls))
        sink.until(lambda each: "has gone" in each.problem)
        assert sink.table == {"a": b"a"}
        assert (sink.states[-1].node, sink.states[-1].settled) == ("n1", False)
        # what was half told by the one before is not mixed with what the next one says
        with member.accept() as connection:
            say(connection, StateChanged(STATE), records(C, more=True))
        with member.accept() as connection:
            say(connection, StateChanged(STATE), records(B, anew=True))
            sink.until(lambda each: each.table == {"b": b"b"})
            assert sink.problem == ""


def test_a_member_that_has_settled_is_believed_once_it_knows_the_seeds(member: Member) -> None:
    lacking = [A]
    with following(member, lacking=lambda: lacking) as (_, sink), member.accept() as connection:
        say(connection, StateChanged(STATE), records(anew=True))
        assert planted(connection) == (A,)
        assert not any(state.settled for state in sink.states)
        say(connection, Planted("the store is full", "make room"))
        sink.until(lambda each: "the store is full; make room" in each.problem)
        # it is asked again once its state is another, and not for each set of changes
        say(connection, records(B), StateChanged(STATE._replace(exchanged_ms=6)))
        assert planted(connection) == (A,)
        lacking.clear()
        say(connection, records(A), Planted("", ""))
        sink.until(lambda each: each.states[-1].settled)
        assert sink.calls == [("replaced", ()), ("changed", ("b",)), ("changed", ("a",))]
        assert sink.problem == ""


def planted(connection: socket.socket) -> tuple[Record, ...]:
    """The seeds that the follower sends next."""
    frames, found = Frames(FRAME_BYTES_MAX), list[Record]()
    while True:
        for body in frames.feed(connection.recv(65536)):
            message = decoded(body, FROM_FOLLOWER)
            assert isinstance(message, Plant)
            found += message.records
            if not message.more:
                return tuple(found)


def test_a_refusal_is_told_and_the_next_member_is_looked_for(member: Member) -> None:
    with following(member) as (_, sink):
        with member.accept() as connection:
            say(connection, Refused("another version", "restart it"))
        sink.until(lambda each: "another version; restart it" in each.problem)
        with member.accept() as connection:
            say(connection, StateChanged(STATE), records(A, anew=True))
            sink.until(lambda each: each.table == {"a": b"a"})


def test_a_write_whose_member_ends_before_it_answers_fails(member: Member) -> None:
    with following(member) as (source, sink):
        with member.accept() as connection:
            say(connection, StateChanged(STATE), records(anew=True))
            sink.until(lambda each: bool(each.calls))
            written = source.write([Writing("shop/a", b"1")])
            assert connection.recv(65536)
        with pytest.raises(NoMemberError, match="before it answered"):
            written.result(PATIENCE_S)


def test_it_ends_where_its_owner_is_the_member_now(member: Member) -> None:
    """And leaves what waits to be written to him."""
    mine = threading.Event()
    with following(member, mine.is_set) as (source, sink):
        with member.accept() as connection:
            say(connection, StateChanged(STATE), records(A, anew=True))
            sink.until(lambda each: bool(each.calls))
            mine.set()
        source._thread.join(PATIENCE_S)
        assert not source._thread.is_alive()
        future = source.write([Writing("shop/a", b"1")])
        assert [call.future for call in source.unsent()] == [future]


def test_what_keeps_its_owner_from_being_the_member_is_told(member: Member) -> None:
    def cannot() -> bool:
        raise ConfigError("the disk is full", "make room")

    member.close()
    with following(member, cannot) as (_, sink):
        sink.until(lambda each: "the disk is full; make room" in each.problem)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.booleans(),
    st.one_of(
        st.binary(min_size=1, max_size=100),
        st.binary(max_size=100).map(lambda body: len(body).to_bytes(4, "big") + body),
    ),
)
def test_whatever_bytes_a_member_says_its_follower_goes_on(
    tmp_path: Path, told: bool, data: bytes
) -> None:
    member = Member(tmp_path)
    try:
        with following(member) as (_, sink):
            with member.accept() as connection:
                connection.sendall((framed(StateChanged(STATE)) if told else b"") + data)
            with member.accept() as connection:
                say(connection, StateChanged(STATE), records(A, anew=True))
                sink.until(lambda each: each.table == {"a": b"a"})
    finally:
        member.close()
