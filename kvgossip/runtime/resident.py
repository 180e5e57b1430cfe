"""Resident: what lives on one thread of one process, and may not be called from anywhere else.

A call on another thread would run in the midst of an input. One in a forked copy of the process
would speak with the sockets of the original, and write to its disk.

Law: to be at home costs a call one comparison of numbers. So a fork is nothing that is asked for:
the copy of the process marks all residents that it finds in itself, and no thread is right for them
from then on. It closes nothing, locks nothing and starts nothing: the sockets are still those of
the original, and there is no other thread in the copy.
"""

from __future__ import annotations

import os
from threading import get_ident
from weakref import WeakSet

from kvgossip.errors import ForkedError, LocalError

FORKED = 0
"""No thread has this number."""


class Resident:
    """It lives on the thread that makes it. Callers compare `thread` with their own, and ask
    `check_home` for the words where it is another."""

    def __init__(self) -> None:
        self.thread = get_ident()
        _residents.add(self)


def check_home(resident: Resident) -> None:
    """Raises ForkedError in a forked copy of its process, LocalError on another thread."""
    if resident.thread == FORKED:
        raise ForkedError(
            "this process was forked while the node ran, which lives on in its parent alone",
            "make a new Node here, or fork before the node starts; a ConfigCache survives a fork",
        )
    if resident.thread != get_ident():
        raise LocalError(
            "a node may be called only on the thread of its event loop",
            "asyncio.run_coroutine_threadsafe gets there; a ConfigCache may be read on any thread",
        )


_residents: WeakSet[Resident] = WeakSet()


def _forked() -> None:
    for resident in _residents:
        resident.thread = FORKED


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
