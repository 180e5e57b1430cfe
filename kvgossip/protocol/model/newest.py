"""Newest: a bounded dict. A table that a stranger can make grow must not grow without bound."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Newest(dict[K, V]):
    """A dict of at most `limit` keys: a new one beyond that drops the one that came first.

    Setting a key again keeps its place; pop it before to make it the newest one. `update` and `|=`
    do not look at the limit.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        #: how many keys there may be, at least 1
        self.limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        dict.__setitem__(self, key, value)  # in many a path: without super()
        if len(self) > self.limit:
            del self[next(iter(self))]
