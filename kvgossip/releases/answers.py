"""Answers: what the processes of all members made of a release.

A process takes a release, or refuses it for the keys that it names, with a reason for each. A
member tells of all its processes, its followers' too. One that has none under the prefix is nobody
to wait for. Loaded by those who follow a member, too.
"""

from __future__ import annotations

from typing import NamedTuple

from kvgossip.releases.place import Place


class Applied(NamedTuple):
    """What one process made of the records under `prefix`: the newest release that it has judged
    (empty: loose keys), and (key, reason) of what it refused there; nothing: it applied it."""

    prefix: str
    release: str
    refused: tuple[tuple[str, str], ...] = ()


class NodeApplied(NamedTuple):
    """An answer of a survey. `processes`: how many processes of this member and its followers
    applied `release` (empty: the loose keys); `refused`: (key, reason) of those that did not."""

    node: str
    release: str
    processes: int
    refused: tuple[tuple[str, str], ...] = ()


class Survey(NamedTuple):
    answers: tuple[NodeApplied, ...]
    #: members that are alive and did not answer in time
    silent: tuple[str, ...]
    #: all members that are alive, the one that asked too
    members: tuple[Place, ...] = ()

    def users(self) -> tuple[Place, ...]:
        """The members whose processes use the prefix, as far as they have not kept silent; all
        members, where none does."""
        if not self.answers:
            return self.members
        names = {*self.silent, *(each.node for each in self.answers)}
        return tuple(each for each in self.members if each.name in names)
