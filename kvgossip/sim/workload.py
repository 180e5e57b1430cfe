"""The workload: the writes of a run, and when they come. Few hot keys that all overwrite, many cold
ones, deletes of both, small and large values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """The shares of the kinds of writes, 0 to 1."""

    writes: int = 200
    #: The share of writes to one of so many hot keys; the others go to new keys.
    hot_keys: int = 8
    hot_share: float = 0.5
    delete_share: float = 0.2
    #: The share of values of up to so many bytes; the others have up to 100.
    large_share: float = 0.05
    large_bytes: int = 20_000
    #: So many writes at most come at once.
    burst: int = 4
    #: The share of values that expire, after up to so many seconds.
    ttl_share: float = 0.0
    ttl_s_max: float = 20.0


class Write(NamedTuple):
    """`value` None is a delete. `choice` in [0, 1) says which of the running nodes takes it."""

    key: str
    value: bytes | None
    choice: float
    ttl_s: float | None = None


def writes(mix: Mix, duration_s: float, rng: Random) -> list[tuple[float, list[Write]]]:
    """All writes of a run by time, those that come at once together. Each value is unique, so that
    no mix-up goes unseen."""
    every = _each(mix, rng)
    found: list[tuple[float, list[Write]]] = []
    left = mix.writes
    while left > 0:
        count = min(left, rng.randint(1, max(1, mix.burst)))
        left -= count
        together = [next(every) for _ in range(count)]
        choice = together[0].choice
        found.append(
            (rng.random() * duration_s, [write._replace(choice=choice) for write in together])
        )
    return sorted(found, key=lambda timed: timed[0])


def _each(mix: Mix, rng: Random) -> Iterator[Write]:
    cold: list[str] = []
    number = 0
    while True:
        number += 1
        hot = rng.random() < mix.hot_share
        delete = rng.random() < mix.delete_share
        if hot:
            key = f"hot/{rng.randrange(mix.hot_keys)}"
        elif cold and delete:
            key = rng.choice(cold)
        else:
            cold.append(key := f"cold/{number:06d}{'-ç ' * rng.randrange(2)}")
        expires = not delete and mix.ttl_share > 0 and rng.random() < mix.ttl_share
        ttl_s = max(0.1, rng.random() * mix.ttl_s_max) if expires else None
        yield Write(key, None if delete else _value(mix, number, rng), rng.random(), ttl_s)


def _value(mix: Mix, number: int, rng: Random) -> bytes:
    limit = mix.large_bytes if rng.random() < mix.large_share else 100
    return b"%d:" % number + rng.randbytes(rng.randrange(limit))
