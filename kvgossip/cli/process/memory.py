"""Memory that a process no longer uses goes back to the system."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
MAPPED_BYTES_MIN = 128 * 1024


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
