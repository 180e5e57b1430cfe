"""How many files the process may have open: each connection of a client, each link and each watcher
is one."""

from __future__ import annotations

import resource


def raise_file_limit() -> None:
    """As many as the system lets this process have. The usual soft limit, 1,024, is for programs
    that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            # a system that does not allow what it offers: stay with what there is
            return
