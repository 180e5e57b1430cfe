"""Forks: what a child inherits of its parent's caches and sources is orphaned - their threads are
its parent's, and so are their sockets.

At a fork a flag is set, and nothing else: nothing is closed, locked or started, since a lock may be
held by a thread that the child does not have, and since a fork is often the begin of an `exec`. The
orphan keeps its values. At its next use the owner of it lets it go and opens another one, with
locks of its own; to close an orphan does nothing, since what it has open is its parent's.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    #: true in a child that has this from its parent
    orphaned: bool


_watched: WeakSet[Forkable] = WeakSet()
_orphans: list[Forkable] = []
"""Never collected: a finalizer would act on what belongs to the parent."""


def watch(thing: Forkable) -> None:
    """In each child that is forked from now on, `thing.orphaned` is true."""
    _watched.add(thing)


def _orphan_all() -> None:
    _orphans.extend(_watched)
    for thing in _orphans:
        thing.orphaned = True


os.register_at_fork(after_in_child=_orphan_all)
