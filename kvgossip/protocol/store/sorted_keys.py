"""SortedKeys: strings in the order of their code points, in lists of a thousand (sortedcontainers).

That takes nine bytes a key. The garbage collector visits every string of such a list whenever it
visits the list: a million keys take it 10 to 20 ms. So an agent lets it visit everything rarely,
and not at all what is there to stay (kvgossip/cli/process/memory.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList


class SortedKeys:
    """A sorted set of keys."""

    __slots__ = ("_late", "_sorted")

    def __init__(self) -> None:
        self._sorted: SortedList[str] = SortedList()
        self._late: list[str] = []

    def __len__(self) -> int:
        return len(self._sorted) + len(self._late)

    def __contains__(self, key: str) -> bool:
        return key in self.sort()

    def add(self, key: str) -> None:
        """`key` is not there yet."""
        if self._late:
            self.sort()
        self._sorted.add(key)

    def extend(self, keys: Iterable[str]) -> None:
        """`add` of many. They wait until the order is needed: to sort all at once is faster."""
        self._late.extend(keys)

    def remove(self, key: str) -> None:
        """`key` is there."""
        self.sort().remove(key)

    def since(self, first: str) -> Iterator[str]:
        """Every key that is not less than `first`, in order. The keys must not change meanwhile."""
        return self.sort().irange(first)

    def sort(self) -> SortedList[str]:
        """All keys. Takes a tenth of a second where `extend` brought a million that were sorted."""
        if self._late:
            late, self._late = self._late, []
            self._sorted.update(late)
        return self._sorted

    def _check(self) -> None:
        """Asserts that every key is in its place, and there once."""
        ordered = list(self.sort())
        assert ordered == sorted(set(ordered)), "the keys are out of order, or one is there twice"
