"""Conflicts that a node has seen: kept, counted, told to watchers, and written again."""

from __future__ import annotations

from kvgossip.config import Config
from kvgossip.protocol.model.change import Conflict
from kvgossip.protocol.model.entry import version_of
from kvgossip.runtime.changes.conflicts import OTHER, SEGMENTS_MAX, Conflicts
from kvgossip.runtime.changes.history import History
from kvgossip.runtime.changes.watchers import Topic
from tests.protocol.net import record


def test_conflicts_are_counted_by_the_first_segment_and_beyond_some_together() -> None:
    conflicts = Conflicts(Config(), 1, 1)
    for place in range(SEGMENTS_MAX + 5):
        for _ in range(2):
            conflicts.publish(Conflict(f"s{place}/k/l", record(b"a"), record(b"b", 1)), 1)
    conflicts.publish(Conflict("plain", record(b"a"), record(b"b", 1)), 1)
    assert len(conflicts.by_segment) == SEGMENTS_MAX + 1
    assert conflicts.by_segment["s0"] == 2
    assert conflicts.by_segment[OTHER] == 11
    assert conflicts.by_segment.total() == 2 * (SEGMENTS_MAX + 5) + 1


def test_the_newest_conflicts_of_a_topic_come_first() -> None:
    conflicts = Conflicts(Config(), 1, 1)
    for place in range(700):
        conflicts.publish(
            Conflict(f"{'ab'[place % 2]}/{place}", record(b"a"), record(b"b", 1)), place
        )
    topic = Topic("a/", conflicts=True)
    found = [arrival.changed.key for arrival in conflicts.feed.newest(topic, 400)]
    assert found == [f"a/{place}" for place in range(698, -1, -2)]
    assert len(conflicts.feed.newest(topic, 3)) == 3


def test_a_loser_takes_its_place_among_the_earlier_versions_of_its_key_once() -> None:
    history = History(5, 100_000)
    oldest, lost, older = record(b"1", 1), record(b"2", 2), record(b"3", 3)
    history.keep("k", oldest)
    history.keep("k", older)
    for _ in range(2):
        history.lost("k", lost)
    present = record(b"4", 4)
    assert [each.entry.version for each in history.entries("k", present)] == [
        version_of(each) for each in (present, older, lost, oldest)
    ]
    none = History(0, 100_000)
    none.lost("k", lost)
    assert none.earlier("k") == []
