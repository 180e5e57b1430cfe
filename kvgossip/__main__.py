"""`python -m kvgossip` is `kvgossip`.

An agent runs on the allocator of the system, not on CPython's own, which gives back a megabyte when
nothing of it is in use any more. After much has come and gone some small thing is left in nearly
every one of them, so that a million keys, created and deleted again, left an agent with one and a
half times the memory that it had before; glibc gives back every page of which nothing is left (see
compaction.py). An interpreter chooses its allocator when it starts, so the process starts anew,
before it has imported anything that takes long.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

ALLOCATOR = "PYTHONMALLOC"


def use_system_allocator() -> None:
    """Start this process anew where that is needed: then this does not return. A user who has set
    PYTHONMALLOC has chosen."""
    if ALLOCATOR in os.environ or sys.flags.dev_mode or not _is_glibc():
        return
    with suppress(OSError):  # it runs on either
        os.execve(
            sys.executable,
            [sys.executable, *sys.orig_argv[1:]],
            {**os.environ, ALLOCATOR: "malloc"},
        )


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError):
        return False


def check_packages() -> None:
    """End the process, with a line that names the extra, where the packages of the commands are
    missing."""
    from kvgossip.extras import MissingPackageError, require

    try:
        for package in ("typer", "rich"):
            require(package, "the command kvgossip")
    except MissingPackageError as error:
        print(f"kvgossip: {error}: {error.hint}", file=sys.stderr)
        sys.exit(2)


def main() -> None:
    if sys.argv[1:2] == ["agent"] and not {"-h", "--help"} & set(sys.argv):
        use_system_allocator()
    check_packages()
    from kvgossip.cli import main as run

    run()


if __name__ == "__main__":
    main()
