"""Conflicts: which writes have lost without their writers' knowing, and that this is seen, once."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.effect import Effect
from kvgossip.protocol.merging import Origin, Spread
from kvgossip.protocol.model.change import Conflict
from kvgossip.protocol.model.conflicts import are_in_conflict, parent_of
from kvgossip.protocol.model.entry import (
    Version,
    check_record,
    content_type_in,
    entry_of,
    is_dead,
    make_record,
    parent_in,
    supersedes,
    value_in,
    value_offset,
    version_of,
    with_version,
)
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.replica import Replica
from tests.protocol.net import WALL_MS, at, make_replica, record, version

FROM_B = Origin(Peer(PoolKind.LAN, "b"), Spread.NEXT_ROUND)


def site_of(place: int) -> int:
    return (place + 1) << 56


def taken_over(value: bytes | None, ms: int, site: int, replaced: bytes | None) -> bytes:
    """The record of a write of this site over that record."""
    parent = b"" if replaced is None else parent_of(replaced, site.to_bytes(8, "big"))
    return make_record(version(ms, site), value, parent=parent)


def conflicts(effects: list[Effect]) -> list[tuple[bytes, bytes]]:
    """The records that have lost, and those that are kept."""
    return [
        (effect.lost_record, effect.kept_record)
        for effect in effects
        if isinstance(effect, Conflict)
    ]


def offer(replica: Replica, key: str, offered: bytes, seconds: float = 0.0) -> list[Effect]:
    replica.merging.merge(key, offered, at(seconds), FROM_B)
    return replica.outbox.drain()


# -- the bytes -----------------------------------------------------------------------------------


def test_a_write_over_a_record_of_another_site_carries_the_first_bytes_of_its_version() -> None:
    replica = make_replica("a")
    offer(replica, "k", record(b"v", site=site_of(1)))
    plain = make_record(version(), b"w")
    written = replica.put("k", b"w", at(1)).record
    assert written is not None
    assert parent_in(written) == record(b"v", site=site_of(1))[1:12]
    assert len(written) - len(plain) == 18
    assert written[17:35].hex() == "0010" + "81a170c40b" + parent_in(written).hex()


def test_a_key_of_one_writer_carries_nothing_more_and_a_second_write_inherits_the_parent() -> None:
    replica = make_replica("a")
    for value in (b"v", b"w"):
        written = replica.put("own", value, at()).record
        assert written is not None
        assert value_offset(written) == 17
    heard = record(b"v", site=site_of(1))
    offer(replica, "k", heard)
    first = replica.put("k", b"w", at(1)).record
    second = replica.put("k", b"x", at(2), "text/plain").record
    deleted = replica.delete("k", at(3)).record
    (batched,) = replica.batch([Writing("k", b"y")], at(4)).records.values()
    for each in (first, second, deleted, batched):
        assert each is not None
        check_record(each)
        assert parent_in(each) == heard[1:12]
    assert second is not None
    assert content_type_in(second) == "text/plain"


def test_a_value_of_a_backup_that_is_written_anew_has_the_parent_of_this_write() -> None:
    replica = make_replica("a")
    old = taken_over(b"old", 1, site_of(2), record(b"older", site=site_of(1)))
    replica.restore([("k", old), ("new", old)], at(1), as_new=True)
    assert parent_in(replica.store["new"]) == b""
    assert value_in(replica.store["new"]) == b"old"
    offer(replica, "other", old)
    replica.restore([("other", record(b"x"))], at(2), as_new=True)
    assert parent_in(replica.store["other"]) == old[1:12]


@given(
    st.none() | st.binary(max_size=3),
    st.none() | st.just("text/plain"),
    st.none() | st.integers(1, 2**48 - 1),
    st.integers(0, 9),
    st.sampled_from([b"", b"p" * 11]),
    st.sampled_from([b"", b"p" * 11, b"q" * 11]),
)
def test_another_version_changes_the_version_and_the_parent_and_nothing_else(
    value: bytes | None,
    content_type: str | None,
    expires_ms: int | None,
    flags: int,
    before: bytes,
    after: bytes,
) -> None:
    if value is None:
        content_type = expires_ms = None
    made = make_record(version(1), value, content_type, expires_ms, flags, before)
    again = with_version(made, version(2), after)
    check_record(again)
    assert parent_in(again) == after
    wanted = make_record(version(2), value, content_type, expires_ms, flags, after)
    assert entry_of("k", again) == entry_of("k", wanted)


def test_a_parent_that_is_no_version_is_none() -> None:
    for parent in (b"short", b"p" * 12):
        assert parent_in(make_record(version(), b"v", parent=parent)) == b""


# -- the rule ------------------------------------------------------------------------------------


class Writers:
    """Some sites that write one key, and hear of each other's writes; and the truth: which records
    each writer had ever had when it wrote."""

    def __init__(self) -> None:
        self.present: dict[int, bytes] = {}
        self.had: dict[int, list[bytes]] = {}
        self.written: list[bytes] = []
        self.had_by_writer: dict[bytes, tuple[bytes, ...]] = {}
        self.ms = 0

    def write(self, place: int, value: bytes | None) -> None:
        self.ms += 1
        made = taken_over(value, self.ms, site_of(place), self.present.get(place))
        self.had_by_writer[made] = tuple(self.had.get(place, ()))
        self.written.append(made)
        self.take(place, made)

    def take(self, place: int, offered: bytes) -> bytes | None:
        """What has lost, if two different records have met."""
        mine = self.present.get(place)
        if mine is not None and not supersedes(offered, mine):
            return offered if offered != mine else None
        self.present[place] = offered
        self.had.setdefault(place, []).append(offered)
        return mine


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.booleans()) | st.tuples(st.integers(0, 2), st.integers(2)),
        max_size=30,
    )
)
def test_what_is_seen_is_real_and_all_is_seen_but_what_is_older_than_the_parent(
    steps: list[tuple[int, int]],
) -> None:
    writers = Writers()
    for place, step in steps:
        if isinstance(step, bool):
            writers.write(place, None if step and place in writers.present else b"v")
            continue
        if not writers.written:
            continue
        lost = writers.take(place, writers.written[step % len(writers.written)])
        kept = writers.present[place]
        if lost is None or version_of(lost).site == version_of(kept).site:
            continue
        seen = are_in_conflict(kept, lost, WALL_MS)
        had = writers.had_by_writer[kept]
        if seen:
            assert lost not in had
        elif lost not in had and not is_dead(lost):
            site = version_of(kept).site
            others = [version_of(each) for each in had if version_of(each).site != site]
            assert max(others) > version_of(lost)


@given(st.lists(st.integers(0, 1), min_size=2, max_size=12))
def test_two_writers_that_hear_of_each_write_at_once_are_never_in_conflict(
    order: list[int],
) -> None:
    writers = Writers()
    for place in order:
        writers.write(place, b"v")
        writers.take(1 - place, writers.written[-1])
    for newer in writers.written:
        for older in writers.written:
            if version_of(older) < version_of(newer):
                assert not are_in_conflict(newer, older, WALL_MS)


def test_writers_that_are_cut_from_each_other_are_seen_in_every_order_of_arrival() -> None:
    common, now_ms = record(b"common", site=site_of(9)), WALL_MS
    for sequence in ((0, 1), (0, 0, 1), (0, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1)):
        writers = Writers()
        for place in (0, 1):
            writers.take(place, common)
        for place in sequence:
            writers.write(place, b"by %d" % place)
        newest = max(writers.written, key=version_of)
        last_lost = max(
            (each for each in writers.written if version_of(each).site != version_of(newest).site),
            key=version_of,
        )
        for number, arrivals in enumerate(permutations([common, *writers.written])):
            seen = []
            for arrival in arrivals:
                lost = writers.take(10 + number, arrival)
                if lost and are_in_conflict(writers.present[10 + number], lost, now_ms):
                    seen.append(lost)
            assert last_lost in seen
            assert common not in seen


def test_a_delete_that_lost_is_seen_where_it_was_of_something_that_was_there() -> None:
    one, other = site_of(1), site_of(2)
    base = record(b"base", 1, one)
    delete = taken_over(None, 2, other, base)
    update = taken_over(b"update", 3, one, base)
    assert are_in_conflict(update, delete, WALL_MS)
    assert not are_in_conflict(taken_over(None, 3, one, base), delete, WALL_MS)
    # one who found nothing agrees with what the delete left
    assert not are_in_conflict(record(b"new", 3, site_of(3)), delete, WALL_MS)
    # a value that lost to a delete is lost
    assert are_in_conflict(taken_over(None, 4, one, base), record(b"v", 3, other), WALL_MS)


def test_what_has_expired_is_lost_to_nobody() -> None:
    lost = make_record(version(1, site_of(1)), b"v", expires_ms=WALL_MS + 10)
    kept = record(b"w", 2, site_of(2))
    assert are_in_conflict(kept, lost, WALL_MS)
    assert not are_in_conflict(kept, lost, WALL_MS + 10)


# -- merging -------------------------------------------------------------------------------------


def test_a_conflict_is_seen_once_whichever_side_came_first_and_never_of_a_clients_write() -> None:
    older, newer = record(b"older", 1, site_of(1)), record(b"newer", 2, site_of(2))
    first, second = make_replica("a"), make_replica("b")
    assert not conflicts(offer(first, "k", older))
    assert conflicts(offer(first, "k", newer)) == [(older, newer)]
    assert not conflicts(offer(second, "k", newer))
    assert conflicts(offer(second, "k", older)) == [(older, newer)]
    for replica in (first, second):
        assert not conflicts(offer(replica, "k", older))
        assert not conflicts(replica.put("k", b"w", at(1)).effects)
        assert not conflicts(offer(replica, "k", newer))


def test_a_part_of_a_batch_may_lose_as_a_single_write_does() -> None:
    replica = make_replica("a")
    newer, older = record(b"newer", 2, site_of(2)), record(b"older", 1, site_of(1))
    offer(replica, "k", newer)
    replica.merging.merge_batch((("j", older), ("k", older)), at(), FROM_B)
    assert conflicts(replica.outbox.drain()) == [(older, newer)]


def test_an_older_entry_of_a_backup_is_no_write_that_is_lost_now() -> None:
    replica = make_replica("a")
    offer(replica, "k", record(b"newer", 2, site_of(2)))
    effects = replica.restore([("k", record(b"older", 1, site_of(1)))], at(), as_new=False).effects
    assert not conflicts(effects)


def test_a_version_differs_from_its_parent_by_eleven_bytes() -> None:
    parent = Version(5 << 16, 0xAAAAAA0000000000)
    kept = make_record(Version(6 << 16, 1 << 63), b"w", parent=make_record(parent, b"")[1:12])
    assert not are_in_conflict(kept, make_record(parent, b"v"), WALL_MS)
    greater = parent._replace(site=0xAAAAAB0000000000)
    assert are_in_conflict(kept, make_record(greater, b"v"), WALL_MS)
