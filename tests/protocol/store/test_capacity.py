"""A store with a bound: writes of clients end there, what peers have does not, and nothing of it is
silent."""

from __future__ import annotations

import pytest

from kvgossip.errors import StoreFullError
from kvgossip.protocol.merging import CLIENT
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.replica import Replica
from tests.protocol.net import at, logs, make_replica, record

BYTES_MAX = 1000


def bounded() -> Replica:
    return make_replica(store_bytes_max=BYTES_MAX)


def put(replica: Replica, key: str, size: int, seconds: float = 0.0) -> None:
    replica.put(key, b"v" * size, at(seconds))


def test_a_write_that_would_exceed_the_bound_is_refused_in_words_and_changes_nothing() -> None:
    replica = bounded()
    put(replica, "a", 900)
    root = replica.store.digest.root
    with pytest.raises(StoreFullError, match="store_bytes_max is 1000") as caught:
        put(replica, "b", 200)
    assert "delete what is not needed" in caught.value.hint
    with pytest.raises(StoreFullError):
        replica.batch([Writing("b", b"v" * 50), Writing("c", b"v" * 150)], at())
    with pytest.raises(StoreFullError):
        replica.restore([("b", record(b"v" * 200))], at())
    assert replica.store.digest.root == root


def test_a_full_store_takes_what_makes_it_no_larger_and_can_be_emptied() -> None:
    replica = bounded()
    put(replica, "a", 900)
    put(replica, "a", 900)
    replica.batch([Writing("a", b"v" * 100), Writing("b", b"v" * 700)], at())
    with pytest.raises(StoreFullError):
        put(replica, "c", 200)
    replica.delete("b", at())
    put(replica, "c", 200)
    assert replica.store.live == 2


def test_entries_of_peers_are_merged_beyond_the_bound_and_that_is_said_once() -> None:
    replica = bounded()
    assert logs(replica.tick(at())) == []
    replica.merging.take("a", record(b"v" * 2000), at(), CLIENT)
    (line,) = logs(replica.tick(at(1)))
    assert line.startswith("the store is full: ")
    assert "entries of peers are merged all the same" in line
    ((code, text),) = replica.readiness.notices()
    assert code == "store_full"
    assert text == replica.capacity.problem()
    assert logs(replica.tick(at(2))) == []
    with pytest.raises(StoreFullError):
        put(replica, "b", 1, 3)
    replica.delete("a", at(4))
    assert logs(replica.tick(at(4))) == ["there is room in the store again"]
    assert replica.readiness.notices() == []


def test_without_a_bound_no_store_is_full() -> None:
    replica = make_replica()
    for number in range(100):
        put(replica, f"k{number}", 10_000)
    assert replica.capacity.problem() == ""
    assert logs(replica.tick(at())) == []
