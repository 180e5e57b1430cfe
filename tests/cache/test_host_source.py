"""One member a host: real processes race for the seat, follow, and take over."""

from __future__ import annotations

import os
import signal
import socket
from asyncio import run_coroutine_threadsafe
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kvgossip import Config
from kvgossip.cache.followers import Followers
from kvgossip.cache.host_source import HostSource, Reign
from kvgossip.cache.seat import LOCK, SOCKET, Seat
from kvgossip.cache.socket_source import NOBODY
from kvgossip.cache.source import Sink, SourceState
from kvgossip.errors import ConfigError
from kvgossip.protocol.model.entry import PARENT_BYTES, make_record
from kvgossip.protocol.model.member import MemberState
from tests.api.serving import ANYWHERE
from tests.cache.local_member import LocalMember
from tests.cache.process import PREFIX
from tests.cache.sinks import Remembering
from tests.cache.workers import Start, Worker, workers
from tests.protocol.net import record, version

SETTLED = NOBODY._replace(role="member", settled=True, problem="")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with workers(tmp_path / "seat") as begin:
        yield begin


def is_member(worker: Worker) -> bool:
    return worker.state.get("role") == "member" and worker.state["settled"]


def follows(worker: Worker) -> bool:
    return worker.state.get("role") == "follower" and worker.state["settled"]


def put(worker: Worker, key: str, value: str) -> None:
    worker.do("put", key, value)
    wait_for(worker, key, value)


def wait_for(worker: Worker, key: str, value: str) -> None:
    worker.until(lambda each: each.table.get(PREFIX + key) == value)


def heirs_of(followers: list[Worker]) -> tuple[Worker, list[Worker]]:
    """The one of them that has taken over, and the others, which follow it."""
    # each is settled again: as the one or as the other
    for worker in followers:
        worker.state = {}
        worker.until(lambda each: is_member(each) or follows(each))
    members = [worker for worker in followers if is_member(worker)]
    assert len(members) == 1
    return members[0], [worker for worker in followers if worker is not members[0]]


def test_the_first_process_is_the_member_and_the_others_follow_it(start: Start) -> None:
    member, follower = start().until(is_member), start().until(follows)
    assert follower.state["node"] == "host"
    put(follower, "theme", "dark")
    member.until(lambda each: each.table == {PREFIX + "theme": "dark"})
    put(member, "theme", "light")
    follower.until(lambda each: each.table == {PREFIX + "theme": "light"})


def test_a_write_that_is_refused_fails_with_the_error_of_the_node(start: Start) -> None:
    start().until(is_member)
    follower = start().until(follows)
    follower.do("put", "../theme", "dark")
    follower.until(lambda each: each.last("kind") == "BadKeyError")


def test_when_the_member_is_killed_a_follower_takes_over_and_no_value_is_lost(
    start: Start,
) -> None:
    """With nothing on a disk, and no other host: the followers have all that there is."""
    member = start().until(is_member)
    followers = [start().until(follows) for _ in range(3)]
    put(member, "theme", "dark")
    for worker in followers:
        worker.until(lambda each: each.table == {PREFIX + "theme": "dark"})
    member.kill()
    heir, others = heirs_of(followers)
    put(others[0], "limit", "10")
    for worker in (heir, *others, start()):
        worker.until(lambda each: each.table == {PREFIX + "theme": "dark", PREFIX + "limit": "10"})
        assert worker.lost == []


def test_what_was_deleted_elsewhere_is_not_brought_back_by_who_takes_over(
    tmp_path: Path,
) -> None:
    """It gives its node what it has, and a peer knows better."""
    with workers(tmp_path / "peer") as start_peer, workers(tmp_path / "seat") as start:
        peer = start_peer(name="peer").until(is_member)
        peer.do("address")
        join = [peer.until(lambda each: each.last("address")).last("address")]
        member = start(join=join).until(is_member)
        followers = [start(join=join).until(follows) for _ in range(3)]
        put(member, "theme", "dark")
        for worker in (peer, *followers):
            worker.until(lambda each: each.table == {PREFIX + "theme": "dark"})
        for worker in followers:
            worker.stop()
        peer.do("delete", "theme")
        member.until(lambda each: each.table == {})
        put(peer, "limit", "10")
        member.kill()
        for worker in followers:
            worker.go_on()
        heir, others = heirs_of(followers)
        for worker in (peer, heir, *others):
            worker.until(lambda each: each.table == {PREFIX + "limit": "10"})


def test_with_a_data_directory_the_heir_has_all_that_was_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with workers(data) as start:
        member = start(data_dir=str(data)).until(is_member)
        followers = [start(data_dir=str(data)).until(follows) for _ in range(3)]
        put(followers[0], "theme", "dark")
        for worker in followers:
            worker.until(lambda each: each.table == {PREFIX + "theme": "dark"})
        member.kill()
        heir, others = heirs_of(followers)
        put(others[0], "limit", "10")
        for worker in followers:
            worker.until(
                lambda each: each.table == {PREFIX + "theme": "dark", PREFIX + "limit": "10"}
            )
            assert worker.lost == []
        heir.close()
        last, (other,) = heirs_of(others)
        put(other, "limit", "11")
        last.until(lambda each: each.table[PREFIX + "limit"] == "11")
        assert last.lost == other.lost == []


def test_a_write_that_waits_while_nobody_is_the_member_is_made_by_the_next_one(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with workers(data) as start:
        member = start(data_dir=str(data)).until(is_member)
        follower = start(data_dir=str(data)).until(follows)
        member.stop()
        follower.do("put", "theme", "dark")
        member.kill()
        follower.until(lambda each: each.last("written") or each.last("kind") == "NoMemberError")
        follower.until(is_member)
        put(follower, "theme", "light")


def test_twenty_restarts_of_followers_leave_no_name_in_the_cluster(tmp_path: Path) -> None:
    with workers(tmp_path / "seat") as start:
        member = start().until(is_member)
        for number in range(20):
            follower = start().until(follows)
            put(follower, "count", str(number))
            follower.kill() if number % 2 else follower.close()
        member.do("names")
        member.until(lambda each: each.last("names") == {"host": MemberState.ALIVE})


def test_each_next_member_has_the_name_of_the_one_before_it(tmp_path: Path) -> None:
    """So its peers know of one, which is alive, and wait for no other."""
    with workers(tmp_path / "peer") as start_peer, workers(tmp_path / "seat") as start:
        peer = start_peer(name="peer").until(is_member)
        peer.do("address")
        join = [peer.until(lambda each: each.last("address")).last("address")]
        member = start(join=join).until(is_member)
        followers = [start(join=join).until(follows) for _ in range(3)]
        while followers:
            member.kill() if len(followers) % 2 else member.close()
            member, followers = heirs_of(followers)
            put(member, "round", str(len(followers)))
            wait_for(peer, "round", str(len(followers)))

        def names() -> Any:
            peer.said.clear()
            peer.do("names")
            return peer.until(lambda each: each.last("names")).last("names")

        while names() != {"peer": MemberState.ALIVE, "host": MemberState.ALIVE}:
            pass


def test_a_member_that_is_closed_gives_the_seat_to_a_follower(start: Start) -> None:
    member, follower = start().until(is_member), start().until(follows)
    member.close()
    follower.until(is_member)
    assert follower.lost == []


def test_a_child_that_a_killed_member_has_forked_keeps_nobody_from_taking_over(
    start: Start,
) -> None:
    """It has copies of the lock, of the socket, and of every connection."""
    member, follower = start().until(is_member), start().until(follows)
    member.do("fork")
    member.until(lambda each: each.last("in_child") and each.last("forked"))
    assert member.last("orphaned") is True
    try:
        member.kill()
        follower.until(is_member)
        put(follower, "theme", "dark")
    finally:
        os.kill(member.last("forked"), signal.SIGKILL)


def test_what_followers_applied_is_counted_by_the_member(start: Start) -> None:
    member = start().until(is_member)
    followers = [start().until(follows) for _ in range(2)]
    for worker in (member, *followers):
        worker.do("report", "r1")

    def counts(worker: Worker) -> Any:
        worker.do("survey")
        before = len(worker.said)
        worker.until(lambda each: len(each.said) > before)
        return worker.last("survey")

    while counts(followers[0]) != {"r1": 3}:
        pass
    followers[1].kill()
    while counts(followers[0]) != {"r1": 2}:
        pass


def test_two_sources_of_one_process_share_one_member(tmp_path: Path) -> None:
    config = Config(name="host", gossip=ANYWHERE, founding_s=0.0)
    first, second = (
        HostSource(str(tmp_path), prefix, lambda: LocalMember(config, "a/"))
        for prefix in ("a/", "b/")
    )
    sinks = Remembering(), Remembering()
    first.open(sinks[0])
    try:
        second.open(sinks[1])
        sinks[1].until(lambda sink: bool(sink.states) and sink.states[-1].settled)
        assert sinks[1].states[-1].role == "follower"
        second.close()
    finally:
        first.close()


def test_who_takes_over_gives_its_node_the_very_bytes_that_the_cluster_has(tmp_path: Path) -> None:
    """Two bodies under one version would be news to everybody."""
    config = Config(name="host", gossip=ANYWHERE, founding_s=0.0)
    members: list[LocalMember] = []

    def make() -> LocalMember:
        members.append(LocalMember(config, "a/"))
        return members[-1]

    def records() -> list[tuple[str, bytes]]:
        async def read() -> list[tuple[str, bytes]]:
            return members[-1].node.records("a/", "", 10)

        return run_coroutine_threadsafe(read(), members[-1].loop).result()

    parent = record(b"before", 1, 7)[1 : 1 + PARENT_BYTES]
    written = [
        ("a/expires", make_record(version(2, 8), b"0", expires_ms=2**47, flags=7)),
        ("a/plain", record(b"1", 2, 8)),
        ("a/taken-over", make_record(version(2, 8), b"2", parent=parent)),
        ("a/typed", make_record(version(2, 8), b"3", "text/plain", parent=parent)),
    ]
    first, second = (HostSource(str(tmp_path), "a/", make) for _ in range(2))
    sink = Remembering()
    first.open(Remembering())
    try:
        second.open(sink)
        node, loop = members[0].node, members[0].loop
        run_coroutine_threadsafe(node.restore(written), loop).result()
        sink.until(lambda each: len(each.table) == len(written))
        assert records() == written
        first.close()
        sink.until(lambda each: each.states[-1].role == "member" and each.states[-1].settled)
        assert len(members) == 2
        assert records() == written
    finally:
        first.close()
        second.close()


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    folder = tmp_path / "seat"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    source = HostSource(str(folder), PREFIX, never)
    with pytest.raises(ConfigError, match="belongs to the user 12345"):
        source.open(Remembering())
    assert list(folder.iterdir()) == []


def test_a_socket_of_another_user_is_never_followed(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a socket away")
    with workers(tmp_path) as start:
        start().until(is_member)
        os.chown(tmp_path / SOCKET, 12345, 12345)
        sink = Remembering()
        source = HostSource(str(tmp_path), PREFIX, never)
        source.open(sink)
        try:
            sink.until(lambda each: "belongs to the user 12345" in each.problem)
        finally:
            source.close()
        assert sink.calls == []


def test_a_member_that_cannot_be_opened_gives_the_seat_back(tmp_path: Path) -> None:
    source = HostSource(str(tmp_path), PREFIX, never)
    with pytest.raises(ConfigError, match="no node here"):
        source.open(Remembering())
    config = Config(name="host", gossip=ANYWHERE, founding_s=0.0)
    other = HostSource(str(tmp_path), PREFIX, lambda: LocalMember(config, PREFIX))
    other.open(Remembering())
    other.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK]


def test_a_seat_whose_path_is_longer_than_a_socket_may_have_is_followed(tmp_path: Path) -> None:
    with workers(tmp_path / ("long" * 30)) as start:
        member, follower = start().until(is_member), start().until(follows)
        put(member, "theme", "dark")
        follower.until(lambda each: each.table == {PREFIX + "theme": "dark"})


def never() -> LocalMember:
    raise ConfigError("no node here")


def test_followers_end_with_the_state_that_the_member_had_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[SourceState] = []
    calls: list[Callable[[], object]] = []

    class Member:
        """It has another state at the moment at which its followers may come."""

        def __init__(self) -> None:
            self.loop = self

        def open(self, sink: Sink) -> None:
            self.sink = sink

        def call_soon_threadsafe(self, call: Callable[..., object], *given: object) -> None:
            if not calls:
                calls.append(lambda: None)
                self.sink.state_changed(SETTLED)
            calls.append(lambda: call(*given))

    def begin(member: object, listener: socket.socket, state: SourceState) -> SimpleNamespace:
        listener.close()
        return SimpleNamespace(state_changed=heard.append)

    monkeypatch.setattr(Followers, "begin", begin)
    seat = Seat(str(tmp_path))
    assert seat.take()
    Reign(seat, cast(Any, Member()), "a/", Remembering(), ())
    for call in calls:
        call()
    assert heard[-1] == SETTLED
    seat.release()
