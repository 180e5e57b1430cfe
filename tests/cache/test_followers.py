"""The server beside a member, and what its followers can and cannot do to it: over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvgossip import Config, Writing
from kvgossip.cache.host_source import HostSource
from kvgossip.cache.line import (
    FRAME_BYTES_MAX,
    FROM_MEMBER,
    HELLO_BYTES_MAX,
    VERSION,
    Ask,
    Failed,
    Frames,
    FromMember,
    Hello,
    Records,
    Refused,
    Report,
    StateChanged,
    Surveyed,
    Write,
    Written,
    decoded,
    framed,
)
from kvgossip.cache.seat import Seat
from kvgossip.cache.source import Applied
from tests.api.serving import ANYWHERE, NOBODY
from tests.cache.local_member import LocalMember
from tests.cache.sinks import PATIENCE_S, Remembering


class Host:
    """A member with its followers, and a way to be one of them."""

    def __init__(self, folder: Path, *, asyncio_loop: bool, **settings: Any) -> None:
        self.seat, self.sink = Seat(str(folder)), Remembering()
        config = Config(name="host", gossip=ANYWHERE, **{"founding_s": 0.0, **settings})
        self.member = LocalMember(config, "", asyncio_loop=asyncio_loop)
        self.source = HostSource(str(folder), "", lambda: self.member)
        self.source.open(self.sink)

    def follow(self, prefix: str = "") -> Line:
        return Line(self.seat.connect(), prefix)

    def settle(self) -> None:
        self.sink.until(lambda sink: bool(sink.states) and sink.states[-1].settled)

    def put(self, **values: str) -> None:
        """As one batch."""
        writes = [Writing(key, value.encode()) for key, value in values.items()]
        self.source.write(writes).result(PATIENCE_S)


class Line:
    """The end of a follower."""

    def __init__(self, connection: socket.socket, prefix: str | None) -> None:
        self.connection = connection
        connection.settimeout(PATIENCE_S)
        self._frames, self._waiting = Frames(FRAME_BYTES_MAX), list[FromMember]()
        if prefix is not None:
            self.say(Hello(VERSION, prefix))

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()

    def say(self, message: Any) -> None:
        self.connection.sendall(framed(message))

    def next(self) -> FromMember | None:
        """What the member says next; None: it has ended the connection."""
        while not self._waiting:
            try:
                data = self.connection.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._waiting += [decoded(body, FROM_MEMBER) for body in self._frames.feed(data)]
        return self._waiting.pop(0)

    def until(self, kind: type[Any]) -> Any:
        while not isinstance(message := self.next(), kind):
            assert message is not None
        return message

    def records(self) -> tuple[bool, dict[str, bytes | None]]:
        """The next whole set: whether it is all that there is, and its records."""
        anew, found = False, dict[str, bytes | None]()
        while True:
            part = cast(Records, self.until(Records))
            anew, found = (True, {}) if part.anew else (anew, found)
            found |= {record.key: record.value for record in part.records}
            if not part.more:
                return anew, found


@pytest.fixture(params=[False, True], ids=["uvloop", "asyncio"])
def begin(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def begin(**settings: Any) -> Host:
        hosts.append(Host(tmp_path / "seat", asyncio_loop=request.param, **settings))
        return hosts[-1]

    yield begin
    for host in hosts:
        host.source.close()


@pytest.fixture
def host(begin: Callable[..., Host]) -> Host:
    host = begin()
    host.settle()
    return host


def test_a_follower_gets_all_that_is_under_its_prefix_and_then_what_changes(host: Host) -> None:
    host.put(**{"a/1": "x", "a/2": "y", "b/1": "z"})
    with host.follow("a/") as line:
        told = line.until(StateChanged)
        assert (told.state.node, told.state.zone, told.state.settled) == ("host", "z1", True)
        assert line.records() == (True, {"a/1": b"x", "a/2": b"y"})
        host.put(**{"b/1": "no"})
        host.put(**{"a/1": "news"})
        assert line.records() == (False, {"a/1": b"news"})
        host.source.write([Writing("a/1", None)]).result(PATIENCE_S)
        assert line.records() == (False, {"a/1": None})


def test_a_batch_comes_as_one_set_however_long_it_is(host: Host) -> None:
    """More than a chunk of what a follower takes at a time."""
    with host.follow() as line:
        assert line.records() == (True, {})
        values = {f"k{number:03}": "x" * 900 for number in range(250)}
        for round_ in "abc":
            host.put(**{key: value + round_ for key, value in values.items()})
            anew, found = line.records()
            assert not anew
            assert found.keys() == values.keys()


def test_all_records_come_in_portions(host: Host) -> None:
    values = {f"k{number}": "x" * 9000 for number in range(100)}
    for key, value in values.items():
        host.put(**{key: value})
    with host.follow() as line:
        portions = [cast(Records, line.until(Records))]
        while portions[-1].more:
            portions.append(cast(Records, line.until(Records)))
    assert len(portions) > 3
    assert max(len(framed(portion)) for portion in portions) < 400_000
    assert {record.key for portion in portions for record in portion.records} == values.keys()


def test_a_follower_writes_and_hears_the_version_or_the_error(host: Host) -> None:
    with host.follow() as line:
        line.say(Write(5, (("a", b"1", "text/plain", None, 0), ("b", b"2", None, 60.0, 7))))
        line.say(Write(6, (("../a", b"1", None, None, 0),)))
        answers = dict[int, Written | Failed]()
        while len(answers) < 2:
            message = line.next()
            if isinstance(message, Written | Failed):
                answers[message.number] = message
        written, failed = answers[5], answers[6]
        assert isinstance(written, Written)
        assert isinstance(failed, Failed)
        assert len(written.versions) == 2
        assert (failed.kind, bool(failed.hint)) == ("BadKeyError", True)


def test_what_a_follower_applied_is_counted_until_it_goes(host: Host) -> None:
    host.source.report(Applied("", "r1"))
    with host.follow() as asks, host.follow() as other:
        other.say(Report(Applied("", "r1")))
        other.say(Write(1, (("a", b"1", None, None, 0),)))
        # what it said before has been heard, too
        other.until(Written)
        asks.say(Ask(1, "", 1.0))
        assert asks.until(Surveyed).survey.answers[0].processes == 2
        other.say(Report(Applied("", "r2")))
        other.say(Write(2, (("a", b"1", None, None, 0),)))
        other.until(Written)
        asks.say(Ask(2, "", 1.0))
        answers = asks.until(Surveyed).survey.answers
        assert {each.release: each.processes for each in answers} == {"r1": 1, "r2": 1}


def test_who_follows_before_the_node_has_settled_gets_everything_when_it_has(
    begin: Callable[..., Host],
) -> None:
    host = begin(join=(NOBODY,), founding_s=3600.0)
    with host.follow() as line:
        assert not line.until(StateChanged).state.settled
        assert line.records() == (True, {})
        host.put(a="1")
        assert line.records() == (False, {"a": b"1"})
        host.member.loop.call_soon_threadsafe(host.member.node.settle)
        assert line.records() == (True, {"a": b"1"})


def test_who_does_not_keep_up_begins_anew(
    begin: Callable[..., Host],
) -> None:
    host = begin(feed_changes_max=1000, feed_bytes_max=2**20)
    host.settle()
    with host.follow() as line:
        assert line.records() == (True, {})
        # far more than the feed and all buffers hold
        for number in range(60):
            host.put(**{f"k{each}": f"{number:02}" * 4500 for each in range(20)})
        host.put(last="1")
        anews, found = 0, dict[str, bytes | None]()
        while "last" not in found:
            anew, records = line.records()
            anews += anew
            found = records if anew else found | records
        assert anews == 1
        assert found == host.sink.table


def test_a_member_that_closes_ends_all_connections(host: Host) -> None:
    with host.follow() as line:
        line.records()
        host.source.close()
        while line.next() is not None:
            pass


# -- nonsense --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "a frame of"),
        ((HELLO_BYTES_MAX + 1).to_bytes(4, "big"), "a frame of"),
        (b"\0\0\0\1\xc1", "cannot be read"),
        (framed(Hello(VERSION + 1, "a/")), f"it speaks version {VERSION + 1}"),
        (framed(Hello(VERSION, "a" * 1025)), "cannot be read"),
        (framed(Write(1, ())), "no hello"),
        (framed(Hello(VERSION, "")) * 2, "a second hello"),
        (framed(Hello(VERSION, "")) + (FRAME_BYTES_MAX + 1).to_bytes(4, "big"), "a frame of"),
    ],
)
def test_nonsense_ends_the_connection_with_a_word_about_why(
    host: Host, data: bytes, why: str
) -> None:
    with Line(host.seat.connect(), None) as line:
        line.connection.sendall(data)
        refused = line.until(Refused)
        assert why in refused.error
        assert refused.hint
        while line.next() is not None:
            pass
    with host.follow() as line:
        assert line.records() == (True, {})


def framed_head(head: bytes) -> bytes:
    """A frame with this JSON, and no values."""
    body = len(head).to_bytes(4, "big") + head
    return len(body).to_bytes(4, "big") + body


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.booleans(),
    st.lists(
        st.one_of(
            st.binary(max_size=100),
            st.binary(max_size=100).map(lambda body: len(body).to_bytes(4, "big") + body),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
                lambda inner: st.lists(inner, max_size=4),
                max_leaves=8,
            ).map(lambda said: framed_head(msgspec.json.encode(said))),
        ),
        max_size=4,
    ),
)
def test_whatever_bytes_come_the_member_goes_on(
    host: Host, greets: bool, pieces: list[bytes]
) -> None:
    with Line(host.seat.connect(), "" if greets else None) as line:
        try:
            line.connection.sendall(b"".join(pieces))
            line.connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass
        while line.next() is not None:
            pass
    with host.follow() as line:
        assert line.records()[0]
    assert host.sink.problem == ""
