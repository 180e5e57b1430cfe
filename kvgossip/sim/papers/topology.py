"""Topologies: n sites 0 .. n-1 joined by links, each site next to its nearest by one link. Distance
is the number of links between.

A topology gives the distances that spatial selection needs, and the traffic (which links a
conversation crosses), and does both without a table of all pairs: 10,000 sites would have 10^8 of
them.

An offset is a place relative to a site. All sites of one kind (on a lattice: all sites; in a tree:
all of one level) share one table of offsets, which covers every place that any of them can have;
`at` says which site that is, or None where the topology has ended.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import accumulate

from kvgossip.errors import ConfigError


class Topology(ABC):
    """`sites` at least 2; `diameter`: the greatest distance. Sites and offsets are numbers."""

    sites: int
    diameter: int

    def kind(self, site: int) -> int:
        """Sites of one kind share their offsets."""
        return 0

    @abstractmethod
    def offsets(self, kind: int) -> list[tuple[int, int]]:
        """(offset, distance) of every place but the site's own, each once."""

    @abstractmethod
    def at(self, site: int, offset: int) -> int | None:
        """The site at this offset, None if there is none."""

    @abstractmethod
    def within(self, site: int, distance: int) -> int:
        """Q(d): how many other sites are at this distance or nearer."""

    @abstractmethod
    def crossings(self, conversations: Iterable[tuple[int, int]]) -> Sequence[int]:
        """For each link, how many of the conversations cross it. O(links + conversations), but for
        a factor log n in a tree."""

    def middle(self) -> int | None:
        """The link that has half of the sites on each side, where there is such a one."""
        return None


class Line(Topology):
    """Link i joins i and i + 1."""

    def __init__(self, sites: int) -> None:
        self.sites, self.diameter = sites, sites - 1

    def offsets(self, kind: int) -> list[tuple[int, int]]:
        return [
            (side * distance, distance) for distance in range(1, self.sites) for side in (-1, 1)
        ]

    def at(self, site: int, offset: int) -> int | None:
        other = site + offset
        return other if 0 <= other < self.sites else None

    def within(self, site: int, distance: int) -> int:
        return min(distance, site) + min(distance, self.sites - 1 - site)

    def crossings(self, conversations: Iterable[tuple[int, int]]) -> Sequence[int]:
        changes = [0] * self.sites
        for one, other in conversations:
            changes[min(one, other)] += 1
            changes[max(one, other)] -= 1
        return list(accumulate(changes[:-1]))

    def middle(self) -> int | None:
        return self.sites // 2 - 1


class Ring(Topology):
    """Link i joins i and i + 1, the last one joins the ends. A conversation takes the shorter way;
    the caller's right if both are equal."""

    def __init__(self, sites: int) -> None:
        self.sites, self.diameter = sites, sites // 2

    def offsets(self, kind: int) -> list[tuple[int, int]]:
        return [(offset, min(offset, self.sites - offset)) for offset in range(1, self.sites)]

    def at(self, site: int, offset: int) -> int | None:
        return (site + offset) % self.sites

    def within(self, site: int, distance: int) -> int:
        return min(2 * distance, self.sites - 1)

    def crossings(self, conversations: Iterable[tuple[int, int]]) -> Sequence[int]:
        changes = [0] * (2 * self.sites + 1)
        for one, other in conversations:
            right = (other - one) % self.sites
            first, length = (one, right) if 2 * right <= self.sites else (other, self.sites - right)
            changes[first] += 1
            changes[first + length] -= 1
        unrolled = list(accumulate(changes))
        return [unrolled[link] + unrolled[link + self.sites] for link in range(self.sites)]


class Grid(Topology):
    """Rows of `width` sites, as square as the number of sites allows; no wrapping. A conversation
    goes along the row, then the column.

    Raises ConfigError where only a strip longer than four times its width has that many sites.
    """

    def __init__(self, sites: int) -> None:
        self.height = next(
            height for height in range(math.isqrt(sites), 0, -1) if sites % height == 0
        )
        self.width = sites // self.height
        if self.width > 4 * self.height:
            hint = (
                f"for example {math.isqrt(sites) ** 2}, or another number with two factors of "
                "about the same size"
            )
            raise ConfigError(
                f"{sites} sites make no grid, only a strip of {self.width} x {self.height}", hint
            )
        self.sites, self.diameter = sites, self.width + self.height - 2

    def offsets(self, kind: int) -> list[tuple[int, int]]:
        rows, columns = range(1 - self.height, self.height), range(1 - self.width, self.width)
        return [
            (self._offset(row, column), abs(row) + abs(column))
            for row in rows
            for column in columns
            if row or column
        ]

    def _offset(self, row: int, column: int) -> int:
        return (row + self.height) * 2 * self.width + column + self.width

    def at(self, site: int, offset: int) -> int | None:
        rows, columns = divmod(offset, 2 * self.width)
        row, column = divmod(site, self.width)
        row, column = row + rows - self.height, column + columns - self.width
        return (
            row * self.width + column
            if 0 <= row < self.height and 0 <= column < self.width
            else None
        )

    def within(self, site: int, distance: int) -> int:
        """The four corners of the diamond around the site, each with its axes; the axes and the
        site itself are counted out again."""
        row, column = divmod(site, self.width)
        down, right = self.height - 1 - row, self.width - 1 - column
        corners = sum(
            _corner(high, wide, distance) for high in (row, down) for wide in (column, right)
        )
        axes = sum(min(distance, arm) for arm in (row, down, column, right))
        return corners - axes - 4

    def crossings(self, conversations: Iterable[tuple[int, int]]) -> Sequence[int]:
        along, across = [0] * (self.sites + 1), [0] * (self.sites + 1)
        for one, other in conversations:
            (row, column), (to_row, to_column) = divmod(one, self.width), divmod(other, self.width)
            along[row * self.width + min(column, to_column)] += 1
            along[row * self.width + max(column, to_column)] -= 1
            across[to_column * self.height + min(row, to_row)] += 1
            across[to_column * self.height + max(row, to_row)] -= 1
        return [*_inner(along, self.width, self.sites), *_inner(across, self.height, self.sites)]


def _corner(high: int, wide: int, distance: int) -> int:
    """Points (i, j) with 0 <= i <= high, 0 <= j <= wide and i + j <= distance."""
    return (
        _triangle(distance)
        - _triangle(distance - high - 1)
        - _triangle(distance - wide - 1)
        + _triangle(distance - high - wide - 2)
    )


def _triangle(distance: int) -> int:
    return (distance + 1) * (distance + 2) // 2 if distance >= 0 else 0


def _inner(changes: Sequence[int], length: int, sites: int) -> list[int]:
    """Counts of the links within rows of this length; the place after the last site of a row is no
    link."""
    return [
        count
        for place, count in enumerate(accumulate(changes[:sites]))
        if place % length != length - 1
    ]


class Tree(Topology):
    """A binary tree, filled level by level: the parent of site i is (i - 1) // 2. Link i joins site
    i + 1 and its parent.

    Inside, sites are numbered from 1, so that a number's bits are the path from the root. Flipping
    the bits of all paths alike maps the complete tree onto itself, so the sites of one level share
    the offsets of its leftmost one.
    """

    def __init__(self, sites: int) -> None:
        self.sites = sites
        bottom = sites.bit_length() - 1
        # The deepest pair goes over the root if the last level reaches the root's right half.
        right = bottom if sites >= 3 << (bottom - 1) else bottom - 1
        self.diameter = bottom + right
        self._within: dict[int, list[int]] = {}

    def kind(self, site: int) -> int:
        return (site + 1).bit_length() - 1

    def offsets(self, kind: int) -> list[tuple[int, int]]:
        leftmost = 1 << kind
        places = range(1, 1 << self.sites.bit_length())
        return [(place, _steps(leftmost, place)) for place in places if place != leftmost]

    def at(self, site: int, offset: int) -> int | None:
        number = site + 1
        level, offset_level = number.bit_length() - 1, offset.bit_length() - 1
        path = number - (1 << level)
        other = offset ^ (
            path << (offset_level - level)
            if offset_level >= level
            else path >> (level - offset_level)
        )
        return other - 1 if other <= self.sites else None

    def within(self, site: int, distance: int) -> int:
        if site not in self._within:
            self._within[site] = self._count(site + 1)
        return self._within[site][min(distance, self.diameter)]

    def _count(self, number: int) -> list[int]:
        """Q(0) .. Q(diameter): the site's own branch, and at every step up the parent and its other
        branch."""
        counts = [0] * (self.diameter + 1)
        self._add_branch(counts, number, 0)
        for steps in range(1, number.bit_length()):
            counts[steps] += 1
            self._add_branch(counts, number >> (steps - 1) ^ 1, steps + 1)
        counts[0] = 0
        return list(accumulate(counts))

    def _add_branch(self, counts: list[int], top: int, distance: int) -> None:
        low, high = top, top + 1
        while low <= self.sites:
            counts[distance] += min(high, self.sites + 1) - low
            low, high, distance = 2 * low, 2 * high, distance + 1

    def crossings(self, conversations: Iterable[tuple[int, int]]) -> Sequence[int]:
        sums = [0] * (self.sites + 1)
        for one, other in conversations:
            sums[one + 1] += 1
            sums[other + 1] += 1
            sums[_meeting(one + 1, other + 1)] -= 2
        for number in range(self.sites, 1, -1):
            sums[number >> 1] += sums[number]
        return sums[2:]


def _meeting(one: int, other: int) -> int:
    """The deepest common ancestor."""
    apart = one.bit_length() - other.bit_length()
    one, other = (one >> apart, other) if apart > 0 else (one, other >> -apart)
    return one >> (one ^ other).bit_length()


def _steps(one: int, other: int) -> int:
    return one.bit_length() + other.bit_length() - 2 * _meeting(one, other).bit_length()


TOPOLOGIES: dict[str, type[Line] | type[Ring] | type[Grid] | type[Tree]] = {
    "line": Line,
    "ring": Ring,
    "grid": Grid,
    "tree": Tree,
}


def topology(name: str, sites: int) -> Topology:
    """Raises ConfigError for an unknown name, or a number of sites that cannot be arranged so."""
    if name not in TOPOLOGIES:
        raise ConfigError(f"unknown topology {name!r}", f"choose one of {', '.join(TOPOLOGIES)}")
    if sites < (least := 3 if name == "ring" else 2):
        raise ConfigError(f"a {name} needs at least {least} sites, not {sites}")
    return TOPOLOGIES[name](sites)
