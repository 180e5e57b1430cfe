"""Many entries that expire at once are seen before they do."""

from __future__ import annotations

from random import Random

from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.expiry import CROWD_MIN, CROWD_MS, ExpiryQueue

DAY_MS = 86_400_000


def queue_of(times_ms: list[int]) -> ExpiryQueue:
    queue = ExpiryQueue(Store(DigestTree(4, 0)))
    queue._heap = [(at_ms, f"k{number}") for number, at_ms in enumerate(times_ms)]
    return queue


def test_a_crowd_is_a_fourth_of_all_within_a_minute() -> None:
    rng = Random(1)
    spread = [rng.randrange(2 * DAY_MS) for _ in range(2 * CROWD_MIN)]
    assert queue_of(spread).crowd(0, 3 * DAY_MS) is None
    at_ms = DAY_MS // CROWD_MS * CROWD_MS
    crowd = [at_ms + rng.randrange(1000) for _ in range(2 * CROWD_MIN)]
    mixed = spread + crowd
    rng.shuffle(mixed)
    found = queue_of(mixed).crowd(0, 3 * DAY_MS)
    assert found is not None
    assert found[0] == at_ms
    assert abs(found[1] / len(crowd) - 1) < 0.1


def test_a_crowd_that_is_small_gone_or_far_is_none() -> None:
    assert queue_of([]).crowd(0, DAY_MS) is None
    assert queue_of([CROWD_MS] * (CROWD_MIN - 1)).crowd(0, DAY_MS) is None
    crowd = queue_of([2 * CROWD_MS] * CROWD_MIN)
    assert crowd.crowd(0, DAY_MS) == (2 * CROWD_MS, CROWD_MIN)
    assert crowd.crowd(3 * CROWD_MS, DAY_MS) is None
    assert crowd.crowd(0, CROWD_MS) is None
