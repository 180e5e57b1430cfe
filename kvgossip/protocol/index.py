"""SortedKeys: strings in the order of their code points, in blocks that are sorted only when somebody reads them.

A block is a dict because of the garbage collector, which never visits a dict of strings, while it visits every string of a list. So a
million keys cost it nothing, an insertion moves nothing, and sorting one block of some hundred keys takes a fraction of a millisecond.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

BLOCK_KEYS_MAX = 682  # what a dict of 1,024 places holds before it grows; half of it fits into one of 512


class SortedKeys:
    """Block i holds the keys from `_lows[i]` up to, and without, `_lows[i + 1]`."""

    __slots__ = ("_blocks", "_length", "_lows")

    def __init__(self) -> None:
        self._blocks: list[dict[str, None]] = [{}]
        self._lows = [""]
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, key: str) -> bool:
        return key in self._blocks[bisect_right(self._lows, key) - 1]

    def add(self, key: str) -> None:
        """`key` is not there yet."""
        place = bisect_right(self._lows, key) - 1
        block = self._blocks[place]
        if len(block) >= BLOCK_KEYS_MAX:
            block = self._split(place, key)
        block[key] = None
        self._length += 1

    def _split(self, place: int, key: str) -> dict[str, None]:
        """The half into which `key` belongs. Each half is built from nothing, so that it takes no more room than it needs."""
        ordered = sorted(self._blocks[place])
        half = len(ordered) // 2
        low, high = dict.fromkeys(ordered[:half]), dict.fromkeys(ordered[half:])
        self._blocks[place : place + 1] = [low, high]
        self._lows.insert(place + 1, ordered[half])
        return high if key >= ordered[half] else low

    def remove(self, key: str) -> None:
        """`key` is there."""
        place = bisect_right(self._lows, key) - 1
        del self._blocks[place][key]
        self._length -= 1
        if place and not self._blocks[place]:
            del self._blocks[place], self._lows[place]

    def since(self, first: str) -> Iterator[str]:
        """Every key that is not less than `first`, in order. The keys must not change meanwhile."""
        start = bisect_right(self._lows, first) - 1
        for place in range(start, len(self._blocks)):
            ordered = sorted(self._blocks[place])
            yield from ordered if place > start else (key for key in ordered if key >= first)

    def _check(self) -> None:
        """Asserts that every key is in its block."""
        bounds = [*self._lows[1:], None]
        assert self._lows == sorted({"", *self._lows}), "the blocks are out of order"
        for low, block, high in zip(self._lows, self._blocks, bounds, strict=True):
            assert all(low <= key and (high is None or key < high) for key in block), "a key is in the wrong block"
        assert self._length == sum(map(len, self._blocks)), "the count of keys is wrong"
