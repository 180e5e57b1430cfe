"""FileLock: a file that one holder has at a time, in all processes and in this one. The kernel lets
it go however the process ends.

The lock is one of POSIX (`lockf`), since one by `flock` is inherited: the child of a fork would
hold on to what its parent has let go. Such a lock has two traps, and both are dealt with here.
Closing *any* descriptor of the file drops it, and within one process everybody gets it. So no
second descriptor is opened of a file that this process holds: it stands in `_held`, by its folder,
its name and the process. A child finds nothing of its parent in there, and needs no lock of its own
to look.
"""

from __future__ import annotations

import fcntl
import os

from kvgossip.runtime.disk.private_file import private_descriptor

_Place = tuple[int, int, str, int]

_held: dict[_Place, FileLock] = {}


class HeldError(Exception):
    """Somebody else has the lock: the process `holder`, as it wrote its number."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"the process {holder} has the lock")
        self.holder = holder


class FileLock:
    """The lock on `path`, whose folder is there, from now until `release`. Raises HeldError and
    OSError."""

    def __init__(self, path: str) -> None:
        folder, name = os.path.split(path)
        found = os.stat(folder)
        self._place: _Place = (found.st_dev, found.st_ino, name, os.getpid())
        self._descriptor = -1
        # one step, whatever other threads do
        if _held.setdefault(self._place, self) is not self:
            raise HeldError(str(os.getpid()))
        try:
            self._descriptor = _locked(path)
        except BaseException:
            del _held[self._place]
            raise

    def release(self) -> None:
        """Harmless when repeated, and in a child, whose lock it is not."""
        if self._place[-1] != os.getpid() or self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        del _held[self._place]


def _locked(path: str) -> int:
    descriptor = private_descriptor(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except (BlockingIOError, PermissionError):
        # POSIX allows either answer for a lock that another process has
        holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
        os.close(descriptor)
        raise HeldError(holder) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
