"""OrderedSet: a set that is iterated in the order in which its elements came.

The order of a builtin set depends on hashes, so a run would depend on more than its seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class OrderedSet(dict[T, None]):
    """A dict of elements whose values mean nothing: as quick as a set to ask, ordered to walk."""

    def __init__(self, elements: Iterable[T] = ()) -> None:
        super().__init__(dict.fromkeys(elements))

    def add(self, element: T) -> None:
        """An element that is there already keeps its place."""
        self[element] = None

    def discard(self, element: T) -> None:
        """Harmless where it is not there."""
        self.pop(element, None)
