"""SortedKeys: strings in the order of their code points, in blocks that are sorted only when
somebody reads them.

A block is a dict because of the garbage collector, which never visits a dict of strings, while it
visits every string of a list. So a million keys cost it nothing, an insertion moves nothing, and
sorting one block of some hundred keys takes a fraction of a millisecond.

When many keys have come and gone, the memory that they took must be free again. A dict never gives
back room by itself, so blocks that have become small are joined, in the room that they need. And a
small object that stays among many that go keeps the allocator from giving back a megabyte around
it. So dicts are made many at a time, and used again; and no bound is a key that is gone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from kvgossip.protocol.store.free_list import FreeList

BLOCK_KEYS_MAX = (
    682  # what a dict of 1,024 places holds before it grows; half of it fits into one of 512
)


class SortedKeys:
    """Block i holds the keys from `_lows[i]` up to, and without, `_lows[i + 1]`."""

    __slots__ = ("_blocks", "_length", "_lows", "_spares")

    def __init__(self) -> None:
        self._blocks: list[dict[str, None]] = [{}]
        self._lows = [""]
        self._spares = FreeList[None]()
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

    def extend(self, keys: Iterable[str]) -> None:
        """`add` of many. Where they are greater than all that are there, whole blocks are made of
        them."""
        ordered = sorted(keys)
        if ordered and ordered[0] < max(self._blocks[-1], default=self._lows[-1]):
            for key in ordered:
                self.add(key)
            return
        done = max(BLOCK_KEYS_MAX // 2 - len(self._blocks[-1]), 0)
        self._blocks[-1].update(dict.fromkeys(ordered[:done]))
        for start in range(done, len(ordered), BLOCK_KEYS_MAX // 2):
            block = self._spares.take()
            _fill(block, ordered[start : start + BLOCK_KEYS_MAX // 2])
            self._blocks.append(block)
            self._lows.append(ordered[start])
        self._length += len(ordered)

    def _split(self, place: int, key: str) -> dict[str, None]:
        """The half into which `key` belongs."""
        low = self._blocks[place]
        ordered = sorted(low)
        half = len(ordered) // 2
        high = self._spares.take()
        _fill(low, ordered[:half])
        _fill(high, ordered[half:])
        self._blocks.insert(place + 1, high)
        self._lows.insert(place + 1, ordered[half])
        return high if key >= ordered[half] else low

    def remove(self, key: str) -> None:
        """`key` is there."""
        place = bisect_right(self._lows, key) - 1
        block = self._blocks[place]
        del block[key]
        self._length -= 1
        if block and key == self._lows[place]:
            self._lows[place] = min(block)
        if len(block) <= BLOCK_KEYS_MAX // 4:
            self._join(place)
        elif len(block) == BLOCK_KEYS_MAX // 2:
            _fill(block, block)

    def _join(self, place: int) -> None:
        """Join a small block with one beside it, if that makes no more than half a block."""
        for low in (place, place - 1):
            if 0 <= low < len(self._blocks) - 1:
                one, other = self._blocks[low : low + 2]
                if len(one) + len(other) <= BLOCK_KEYS_MAX // 2 or not one or not other:
                    _fill(one, [*one, *other])
                    self._spares.give(other)
                    del self._blocks[low + 1], self._lows[low + 1]
                    return

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
            assert all(low <= key and (high is None or key < high) for key in block), (
                "a key is in the wrong block"
            )
        assert all(
            low in block for low, block in zip(self._lows[1:], self._blocks[1:], strict=True)
        ), "a bound is no key"
        self._spares._check()
        assert self._length == sum(map(len, self._blocks)), "the count of keys is wrong"


def _fill(block: dict[str, None], keys: Iterable[str]) -> None:
    """Let this block hold these keys, in no more room than they need."""
    fresh = dict.fromkeys(list(keys))
    block.clear()
    block.update(fresh)
