"""Inherited: what a forked child has of the RocksDB of its parent, and must leave alone.

RocksDB has threads, and a child has none of them. So in a child of a process that had opened it
- what destroys an engine, or ends the library, would wait for those threads: it crashes or hangs at
  the very end of a child that ends by `sys.exit`. An engine gets one reference more, which nobody
  gives back, and the C library ends the process before it ends RocksDB (`on_exit`: glibc alone);
- what an engine of its own leaves to those threads is never done: the first full table would hang
  for ever. So none is opened.
"""

from __future__ import annotations

import ctypes
import os
from typing import Protocol
from weakref import WeakSet

from kvgossip.errors import DataDirError


class HasEngine(Protocol):
    @property
    def engine(self) -> object | None:
        """None: it is not open."""


class _Engines:
    """Those of this process. What a child calls is named here, before the fork."""

    def __init__(self) -> None:
        self._owners: WeakSet[HasEngine] = WeakSet()
        self._opened = self.inherited = False
        self._hold = ctypes.pythonapi.Py_IncRef
        self._hold.argtypes, self._hold.restype = [ctypes.py_object], None
        library = ctypes.CDLL(None)
        self._on_exit, self._exit = getattr(library, "on_exit", None), library._exit

    def add(self, owner: HasEngine) -> None:
        self._owners.add(owner)
        self._opened = True

    def fork(self) -> None:
        """In the child."""
        if not self._opened or self.inherited:
            return
        self.inherited = True
        for owner in list(self._owners):
            if owner.engine is not None:
                self._hold(owner.engine)
        if self._on_exit is not None:
            # called with the exit code, before what was registered earlier
            self._on_exit(self._exit, None)


_engines = _Engines()
os.register_at_fork(after_in_child=_engines.fork)


def begin_engine(owner: HasEngine) -> None:
    """The owner is about to open one. Raises DataDirError in a child of a process that had."""
    if _engines.inherited:
        raise DataDirError(
            "this process was forked from one that had opened a data directory, and RocksDB does "
            "not work in such a process",
            "open it after the fork alone, or start the process anew (multiprocessing: spawn)",
        )
    _engines.add(owner)
