"""What the machine gives this process, as its node says when it is asked how it is set up."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from kvgossip.extras import installed
from kvgossip.protocol.doctor.shell_report import Host

if TYPE_CHECKING:
    from kvgossip.runtime.disk.data_dir import DataDir


def host(disk: DataDir | None) -> Host:
    """`disk`: None without a data directory."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files_max = 0 if soft == resource.RLIM_INFINITY else soft
    if disk is None:
        return Host(installed(), files_max)
    return Host(installed(), files_max, *disk.size)
