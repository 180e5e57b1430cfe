"""Files: how far connections of clients may use up those that the process may have open.

The system gives a new file the least number that is free. So the number of a connection's file says
how many are open at least, at no cost. Where a connection was closed to make room there may be
more, since it leaves a gap among the lesser numbers: then they are counted (overload.py).
"""

from __future__ import annotations

import os
import resource
import sys

FILES_SPARED = 64
"""So many are left to links, to the disk, and to all that opens a file for a moment."""
FILES_SPARED_BY_STREAMS = 128
"""A stream holds its connection for hours: so many are left also to other clients."""


def files_for(spared: int) -> int:
    """Files with lesser numbers may be used; of a few files at least half."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft - spared, soft // 2)


def open_files() -> int:
    """How many files this process has open. A listing: not for every connection."""
    try:
        # without the one by which they are listed
        return len(os.listdir("/dev/fd")) - 1
    except OSError:
        # not even that one was left
        return sys.maxsize
