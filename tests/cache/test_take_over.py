"""Who takes over may know less than those who follow it: nobody loses a value for that. All
processes of the host are sources of one process here, with nothing on a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest

from kvgossip import Config, ConfigCache, Node, Writing
from kvgossip.cache import host_source, record_bytes
from kvgossip.cache.host_source import HostSource
from kvgossip.cache.news import Change
from kvgossip.cache.source import Record
from kvgossip.errors import StoreFullError
from tests.api.serving import ANYWHERE, NOBODY
from tests.cache.local_member import LocalMember
from tests.cache.sinks import PATIENCE_S, Remembering

T = TypeVar("T")
WAITING: dict[str, Any] = {"join": (NOBODY,), "founding_s": 3600.0}
"""A node with these settles when it is told to."""


class Host:
    """Sources of these prefixes, the first of which is the member. `next_settings`: of the node of
    whoever takes over."""

    def __init__(self, folder: Path, *prefixes: str, **next_settings: Any) -> None:
        self._folder, self._next_settings = folder, next_settings
        self.members: list[LocalMember] = []
        self.sources = [HostSource(str(folder), each, self._make_member) for each in prefixes]
        self.sinks = [Remembering() for _ in prefixes]
        self._closed: set[int] = set()
        for place, (source, sink) in enumerate(zip(self.sources, self.sinks, strict=True)):
            source.open(sink)
            self.until_settled(place)

    def _make_member(self) -> LocalMember:
        settings = self._next_settings if self.members else {"founding_s": 0.0}
        config = Config(name="host", gossip=ANYWHERE, **settings)
        self.members.append(LocalMember(config, ""))
        return self.members[-1]

    def put(self, key: str, value: bytes | None, ttl_s: float | None = None) -> None:
        self.sources[0].write([Writing(key, value, ttl_s=ttl_s)]).result(PATIENCE_S)

    def until(self, place: int, **table: bytes) -> None:
        wanted = {key.replace("_", "/"): value for key, value in table.items()}
        self.sinks[place].until(lambda sink: sink.table == wanted)

    def until_settled(self, place: int) -> None:
        self.sinks[place].until(lambda sink: bool(sink.states) and sink.states[-1].settled)

    def close(self, place: int) -> None:
        """The states from here on are of the next member."""
        for sink in self.sinks:
            sink.states.clear()
        self._closed.add(place)
        self.sources[place].close()

    def close_all(self) -> None:
        for place in range(len(self.sources)):
            if place not in self._closed:
                self.sources[place].close()


@contextmanager
def host(folder: Path, *prefixes: str, **next_settings: Any) -> Iterator[Host]:
    with ExitStack() as stack:
        begun = Host(folder, *prefixes, **next_settings)
        stack.callback(begun.close_all)
        yield begun


def test_a_member_that_settles_late_takes_nothing_from_its_followers_meanwhile(
    tmp_path: Path,
) -> None:
    """Its followers hear of nothing before, and that it has settled is said after all it has."""
    with host(tmp_path, "a/", "a/", "a/", **WAITING) as three:
        three.put("a/1", b"x")
        for place in (1, 2):
            three.until(place, a_1=b"x")
        three.close(0)
        for sink in three.sinks[1:]:
            # one is the member, and the other has found it
            sink.until(lambda each: bool(each.states) and not each.states[-1].problem)
        node, loop = three.members[1].node, three.members[1].loop
        loop.call_soon_threadsafe(node.settle)
        for place in (1, 2):
            three.until_settled(place)
            assert three.sinks[place].table == {"a/1": b"x"}
            assert three.sinks[place].lost == []


def test_a_cache_that_is_opened_again_keeps_its_values_while_the_member_has_not_settled(
    tmp_path: Path,
) -> None:
    """As a forked child has them, which opens a source of its own."""
    heard: SimpleQueue[Change] = SimpleQueue()
    with host(tmp_path, "a/", "a/", **WAITING) as two:
        two.put("a/1", b"x")
        two.until(1, a_1=b"x")
        config = ConfigCache._over(lambda: HostSource(str(tmp_path), "a/", two._make_member), "a/")
        config.on_change("")(heard.put)
        config.wait_settled(PATIENCE_S)
        config.close()
        two.close(0)
        two.sinks[1].until(lambda sink: bool(sink.states) and sink.states[-1].role == "member")
        config.open()
        assert (config["1"], config.status().settled) == ("x", False)
        node, loop = two.members[1].node, two.members[1].loop
        loop.call_soon_threadsafe(node.settle)
        config.wait_settled(PATIENCE_S)
        assert config["1"] == "x"
        config.close()
    assert heard.empty()


def test_what_the_heir_never_had_it_gets_from_those_that_follow_it(tmp_path: Path) -> None:
    """Each of them reads another prefix, so whoever it is lacks what the others have."""
    with host(tmp_path, "a/", "a/", "b/", "c/", founding_s=0.0) as four:
        four.put("a/1", b"x")
        four.put("b/1", b"y", ttl_s=3600.0)
        four.put("c/2", b"z")
        four.put("c/2", None)
        four.put("c/1", b"z")
        four.until(1, a_1=b"x")
        four.until(2, b_1=b"y")
        four.until(3, c_1=b"z")
        lost = [list(sink.lost) for sink in four.sinks]
        four.close(0)
        for place in (1, 2, 3):
            four.until_settled(place)
            assert four.sinks[place].lost == lost[place]
        assert values_of(four.members[1]) == {"a/1": b"x", "b/1": b"y", "c/1": b"z"}
        assert expiring(four.members[1]) == ["b/1"]


def values_of(member: LocalMember) -> dict[str, bytes | None]:
    return on_loop(member, lambda node: {each.key: each.value for each in node.scan()})


def expiring(member: LocalMember) -> list[str]:
    return on_loop(member, lambda node: [each.key for each in node.scan() if each.expires_ms])


def on_loop(member: LocalMember, ask: Callable[[Node], T]) -> T:
    asked, answers = threading.Event(), list[T]()

    def answer() -> None:
        answers.append(ask(member.node))
        asked.set()

    member.loop.call_soon_threadsafe(answer)
    assert asked.wait(PATIENCE_S)
    return answers[0]


def test_a_node_that_does_not_take_what_its_process_has_is_not_believed_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, refusals = record_bytes.plant, [StoreFullError("no room", "make room")] * 2

    async def reluctant(node: Node, seeds: Sequence[Record]) -> None:
        if refusals:
            raise refusals.pop()
        await plant(node, seeds)

    monkeypatch.setattr(record_bytes, "plant", reluctant)
    monkeypatch.setattr(host_source, "PLANT_AGAIN_S", 0.0)
    with host(tmp_path, "a/", "a/", founding_s=0.0) as two:
        two.put("a/1", b"x")
        two.until(1, a_1=b"x")
        two.close(0)
        two.until_settled(1)
        assert "no room; make room" in "".join(state.problem for state in two.sinks[1].states)
        assert two.sinks[1].lost == []
        assert values_of(two.members[1]) == {"a/1": b"x"}
