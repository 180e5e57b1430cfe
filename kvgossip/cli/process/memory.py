"""The memory that an agent gives back, and the time for which the garbage collector visits the
rest.

A collection visits every container of its generation that is not frozen, and all that it holds. Of
a million keys these are the lists of the sorted index (10 to 30 ms), and from CPython 3.14 on the
tables as well: up to 3.13 a dict of strings and bytes is not visited, then it is (gh-127010). There
is next to nothing to find, since reference counting frees entries.
"""

from __future__ import annotations

import ctypes
import gc
import sys

M_MMAP_THRESHOLD = -3
MAPPED_BYTES_MIN = 128 * 1024
MIDDLE_AFTER, FULL_AFTER = 2, 3000
"""So many collections of the young generation until one of the middle one, and so many of that
until a full one; CPython begins with 10 and 10. A node makes few containers: a young collection
comes after twenty thousand new keys, so the middle generation would have those of a quarter of a
million.
"""


def shorten_collections() -> None:
    """Visit at once what few keys have brought, and everything only after some million containers.

    From CPython 3.14 on the numbers mean something else, and stay as they are.
    """
    if sys.version_info < (3, 14):
        gc.set_threshold(gc.get_threshold()[0], MIDDLE_AFTER, FULL_AFTER)


def return_large_blocks() -> None:
    """Blocks of MAPPED_BYTES_MIN and more go back to the system as soon as they are
    free, if glibc allocates.

    That is its own default, until the first such block is freed: from then on it keeps ever larger
    ones within its heap, where one small block above them holds them for ever. The memory of
    values of a megabyte, which waited for slow clients, would never come back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
