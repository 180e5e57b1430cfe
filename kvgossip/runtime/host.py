"""What the machine gives this process, as its node says when it is asked how it is set up."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kvgossip.extras import installed
from kvgossip.protocol.doctor.shell_report import Host

if TYPE_CHECKING:
    from kvgossip.runtime.disk.data_dir import DataDir

_MEMORY = Path("/proc/self/statm")
_GROUP_MAX = Path("/sys/fs/cgroup/memory.max")


def host(disk: DataDir | None) -> Host:
    """`disk`: None without a data directory."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files_max = 0 if soft == resource.RLIM_INFINITY else soft
    if disk is None:
        return Host(installed(), files_max)
    return Host(installed(), files_max, *disk.size)


def resident_bytes() -> float | None:
    """The memory of this process; None where the system does not say it this way."""
    try:
        pages = _MEMORY.read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def memory_max() -> float | None:
    """How much memory this process may have: that of its control group, or of the machine; None
    where the system does not say it this way."""
    with suppress(OSError, ValueError):
        return float(int(_GROUP_MAX.read_text()))
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return None
