"""The words between a member and those who follow it: their bytes, and what is nonsense."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.cache.line import (
    FROM_FOLLOWER,
    FROM_MEMBER,
    Ask,
    Failed,
    Frames,
    Hello,
    LineError,
    Plant,
    Planted,
    Records,
    Refused,
    Report,
    StateChanged,
    Surveyed,
    Write,
    Written,
    decoded,
    error_in,
    failed,
    framed,
)
from kvgossip.cache.shapes import Shape
from kvgossip.cache.source import Applied, NodeApplied, Record, SourceState, Survey
from kvgossip.errors import BadKeyError, KVGossipError, StaleError

STATE = SourceState("member", "n1", "z1", "dc1", True, 5, from_disk=False, problem="")
OF_FOLLOWERS = [
    Hello(1, "shop/"),
    Write(2, (("a", b"1", None, 1.5, 7), ("b", None, "text/plain", None, 0))),
    Report(Applied("shop/", "r1", (("a", "why"),))),
    Ask(3, "shop/", 2.5),
    Plant((Record("a", b"1", "v1", "", b"p", b"all"), Record("b", None, "v2")), more=True),
]
OF_MEMBERS = [
    Refused("no", "do that"),
    StateChanged(STATE),
    Records(
        (Record("a", b"1", "v1", "text/plain"), Record("b", None, "v2")), anew=True, more=False
    ),
    Written(2, ("v1", "")),
    Surveyed(3, Survey((NodeApplied("n1", "r1", 4, (("a", "why"),)),), ("n2",))),
    Failed(4, "BadKeyError", "what", "hint"),
    Planted("what", "hint"),
]


@pytest.mark.parametrize(
    ("messages", "kinds"), [(OF_FOLLOWERS, FROM_FOLLOWER), (OF_MEMBERS, FROM_MEMBER)]
)
def test_what_is_said_is_heard_however_the_bytes_are_cut(
    messages: list[Any], kinds: dict[int, Shape]
) -> None:
    data = b"".join(map(framed, messages))
    for size in (1, 3, 1000):
        frames = Frames(1000)
        parts = [data[place : place + size] for place in range(0, len(data), size)]
        bodies = [body for part in parts for body in frames.feed(part)]
        assert [decoded(body, kinds) for body in bodies] == messages


def test_a_hello_is_these_bytes() -> None:
    assert framed(Hello(1, "shop/")) == b'\0\0\0\x13\0\0\0\x0f[1, 1, "shop/"]'


def test_a_frame_that_is_too_long_is_refused_before_it_has_come() -> None:
    frames = Frames(1000)
    with pytest.raises(LineError, match="1001 bytes"):
        list(frames.feed(b"\0\0\x03\xe9"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for kinds in (FROM_FOLLOWER, FROM_MEMBER):
        with suppress(LineError):
            decoded(data, kinds)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_frames_or_an_error(data: bytes, size: int) -> None:
    frames = Frames(100)
    bodies: list[bytes] = []
    try:
        for place in range(0, len(data), size):
            bodies += frames.feed(data[place : place + size])
    except LineError:
        return
    whole = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    assert data.startswith(whole)
    assert len(data) - len(whole) < 104


def test_an_error_arrives_as_what_it_was() -> None:
    error = error_in(failed(1, BadKeyError("no such key", "choose another")))
    assert (type(error), str(error), error.hint) == (BadKeyError, "no such key", "choose another")


@pytest.mark.parametrize("kind", ["StaleError", "annotations", "SystemExit", "", "__doc__"])
def test_an_error_of_another_kind_is_one_of_kvgossip_all_the_same(kind: str) -> None:
    assert type(error_in(Failed(1, kind, "what", "hint"))) is KVGossipError
    assert issubclass(StaleError, KVGossipError)
