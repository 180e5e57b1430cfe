"""Step: what is written for a release, a promotion, a rollback.

    release   the document, and when that stands, the pointer
    promote   the pointer: the canary's release is for all
    rollback  the pointer: back to a release that was for all

Each step is made from what its node has now; it is no lock. Who is told of a conflict has changed
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from kvgossip.errors import NotFoundError, ReleaseConflictError
from kvgossip.protocol.model.write import Writing
from kvgossip.releases.answers import (
    Survey,
)
from kvgossip.releases.document import (
    CONTENT_TYPE,
    Document,
    read_document,
)
from kvgossip.releases.names import (
    LOOSE,
    document_key,
    pointer_key,
)
from kvgossip.releases.pointer import (
    BEFORE_MAX,
    FORMAT,
    Canary,
    Pointer,
    read_pointer,
)
from kvgossip.releases.target import Target, reaching

Read = Callable[[str], bytes | None]
"""The live value under a key, on the node that makes the step."""


class Author(NamedTuple):
    """Who makes a step, and when by his clock."""

    by: str
    at_ms: int


class Step(NamedTuple):
    """`document`: what is to be written first, and to stand before `pointer` is; None: it is there.
    `hits`: the members that are alive and are to have `release` from then on; of a canary those
    whose processes use the prefix."""

    release: str
    document: Writing | None
    pointer: Writing
    hits: tuple[str, ...]


class Steps:
    """Those under one prefix. `survey`: who is alive, and whose processes use the prefix: on these
    alone a trial is made."""

    def __init__(self, prefix: str, read: Read, survey: Survey, author: Author) -> None:
        self._prefix, self._read = prefix, read
        self._survey, self._author = survey, author

    def release(self, document: Document, to: Target | None) -> Step:
        """Make a release, for all or for those in `to`. A canary under way ends.

        Raises ReleaseConflictError where the name is another release's, BadReleaseError where
        `to` hits nobody or the pointer cannot be read.
        """
        name, pointer = document.name, self._pointer()
        writing = self._writing(document)
        if to is None:
            return self._step(name, _for_all(pointer, name), writing)
        if name == pointer.release:
            raise ReleaseConflictError(
                f"the release {name!r} is for all already", "release the new values by a new name"
            )
        target = reaching(to, name, self._survey.users())
        return self._step(name, replace(pointer, canary=Canary(name, target)), writing)

    def promote(self, name: str = "") -> Step:
        """The canary is for all from now on. `name`: only if it is this one; promoted already, it
        stays. Raises ReleaseConflictError."""
        pointer = self._pointer()
        if pointer.canary is None or name not in ("", pointer.canary.release):
            if name and name == pointer.release:
                return self._step(name, pointer)
            which = f"the release {name!r} is no canary" if name else "there is no canary"
            raise ReleaseConflictError(
                f"{which} under {self._prefix!r}", "`kvgossip release status` shows what there is"
            )
        name = pointer.canary.release
        self._must_be_here(name)
        return self._step(name, _for_all(pointer, name))

    def rollback(self, name: str = "") -> Step:
        """No canary any more, and back to this release, for all. Without a name: to the one that is
        for all, where there is a canary; else to the one before. Raises ReleaseConflictError where
        there is none, NotFoundError."""
        pointer = self._pointer()
        if name:
            target = name
        elif pointer.canary is not None:
            target = pointer.release
        elif pointer.before:
            target = pointer.before[0]
        else:
            raise ReleaseConflictError(
                f"there is no release before this one under {self._prefix!r}",
                "name the release to go back to; `kvgossip release status` lists them",
            )
        if target != LOOSE:
            self._must_be_here(target)
        if target in pointer.before:
            place = pointer.before.index(target)
            before = pointer.before[place + 1 :]
        else:
            before = _for_all(pointer, target).before
        return self._step(target, replace(pointer, release=target, before=before, canary=None))

    def withdraw(self, name: str) -> Step:
        """Take this release back: as `rollback`, while it is the canary, or for all where there is
        none. Raises ReleaseConflictError where it is neither, and as `rollback`."""
        pointer = self._pointer()
        newest = pointer.release if pointer.canary is None else pointer.canary.release
        if name != newest:
            raise ReleaseConflictError(
                f"the release {name!r} is not the newest one under {self._prefix!r} any more",
                "`kvgossip release status` shows what there is",
            )
        return self.rollback()

    def _pointer(self) -> Pointer:
        octets = self._read(pointer_key(self._prefix))
        return Pointer(format=FORMAT) if octets is None else read_pointer(octets)

    def _writing(self, document: Document) -> Writing | None:
        key = document_key(self._prefix, document.name)
        there = self._read(key)
        if there is None:
            return Writing(key, document.encoded(), CONTENT_TYPE)
        if read_document(there).meaning() != document.meaning():
            raise ReleaseConflictError(
                f"there is a release {document.name!r} with other values",
                "a release is written once: choose another name",
            )
        return None

    def _must_be_here(self, name: str) -> None:
        octets = self._read(document_key(self._prefix, name))
        if octets is None:
            raise NotFoundError(
                f"there is no release {name!r} under {self._prefix!r}",
                "`kvgossip release status` lists those that there are",
            )
        read_document(octets)

    def _step(self, name: str, pointer: Pointer, document: Writing | None = None) -> Step:
        signed = replace(pointer, by=self._author.by, at_ms=self._author.at_ms)
        writing = Writing(pointer_key(self._prefix), signed.encoded(), CONTENT_TYPE)
        is_canary = pointer.canary is not None and pointer.canary.release == name
        members = self._survey.users() if is_canary else self._survey.members
        hits = tuple(sorted(each.name for each in members if signed.wanted(each) == name))
        return Step(name, document, writing, hits)


def _for_all(pointer: Pointer, name: str) -> Pointer:
    if name == pointer.release:
        return replace(pointer, canary=None)
    others = (each for each in pointer.before if each not in (name, pointer.release))
    before = (pointer.release, *others)[:BEFORE_MAX]
    return replace(pointer, release=name, before=before, canary=None)
