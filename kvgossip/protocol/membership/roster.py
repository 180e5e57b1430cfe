"""Roster: members in the order of their names, at hand as a list however fast they come and go.

To sort thousands of members anew for each one that has changed would take the time that the node
has for its clients. Here a change costs a search; who asks for the list gets a copy, the same one
until there is another change.
"""

from __future__ import annotations

from bisect import bisect_left

from kvgossip.protocol.model.member import Member


class Roster:
    __slots__ = ("_given", "_members", "_names")

    def __init__(self) -> None:
        #: both in the same order
        self._names: list[str] = []
        self._members: list[Member] = []
        #: the copy that was given away; None: there has been a change since
        self._given: list[Member] | None = None

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> list[Member]:
        """As they are now: another list after each change, and only then. Do not change it."""
        if self._given is None:
            self._given = self._members.copy()
        return self._given

    def put(self, member: Member) -> None:
        """Take this record, in place of one of the same name."""
        place = bisect_left(self._names, member.name)
        if self._is_at(place, member.name):
            self._members[place] = member
        else:
            self._names.insert(place, member.name)
            self._members.insert(place, member)
        self._given = None

    def discard(self, name: str) -> None:
        """Harmless where it is not there."""
        place = bisect_left(self._names, name)
        if self._is_at(place, name):
            del self._names[place], self._members[place]
            self._given = None

    def _is_at(self, place: int, name: str) -> bool:
        return place < len(self._names) and self._names[place] == name
