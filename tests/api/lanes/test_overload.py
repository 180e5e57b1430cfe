"""Overload: clients leave files to links and the disk."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any, cast

import pytest

from kvgossip.api.lanes import overload
from kvgossip.api.lanes.files import open_files
from kvgossip.api.lanes.overload import Door


class Idle:
    """Connections that are all idle: the oldest one is closed for a new one."""

    may_refuse = False

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.open: list[socket.socket] = []
        self.beyond: list[socket.socket] = []

    def has_room(self) -> bool:
        return True

    def makes_room(self) -> bool:
        self.open.pop(0).close()
        return True


def test_no_number_of_connections_that_make_room_for_others_uses_up_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that was closed leaves a gap among the lesser numbers of files, and the next connection
    got that: so every second one came in beyond those that were spared."""
    idle = Idle()
    with socket.socket() as probe:
        files_max = probe.fileno() + 20
    monkeypatch.setattr(overload, "files_for", lambda spared: files_max)
    door = Door(cast(Any, idle), cast(Any, None))
    most = 0
    try:
        for _ in range(200):
            connection = socket.socket()
            assert not door.turns_away(connection)
            idle.open.append(connection)
            most = max(most, open_files())
    finally:
        for each in idle.open:
            each.close()
    assert most <= files_max + 1


def test_once_the_files_are_free_again_nobody_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = Idle()
    # in the order of their numbers, which fill the gaps that others have left
    opened = sorted((socket.socket() for _ in range(8)), key=socket.socket.fileno)
    beyond = opened[-1]
    monkeypatch.setattr(overload, "files_for", lambda spared: beyond.fileno())
    door = Door(cast(Any, idle), cast(Any, None))
    idle.open.append(opened[0])
    assert not door.turns_away(beyond)
    assert idle.open == []
    # it lives on, and all others have gone
    for each in opened[:-1]:
        each.close()
    with socket.socket() as late:
        assert not door.turns_away(late)
    beyond.close()
