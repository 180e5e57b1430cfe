"""The folder of a data directory, as the system sees it: its lock, its syncs, and whether the disk
below it answers. The interpreter's lock is free meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from kvgossip.errors import DataDirError
from kvgossip.runtime.disk.file_lock import FileLock, HeldError
from kvgossip.runtime.disk.private_file import PRIVATE_FOLDER, private_file


class Size(NamedTuple):
    """Of a folder, and what its disk has left."""

    used_bytes: int
    free_bytes: int


def lock(directory: Path) -> FileLock:
    """The lock of the directory, which is made where it is not there. Raises DataDirError."""
    try:
        directory.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        return FileLock(str(directory / "lock"))
    except HeldError as error:
        text = f"the data directory {directory} is in use by the process {error.holder}"
        raise DataDirError(
            text, "stop that process, or give this node a --data-dir of its own"
        ) from None
    except OSError as error:
        raise unusable(directory, error) from error


def sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def unusable(directory: Path, error: OSError) -> DataDirError:
    text = f"the data directory {directory} cannot be used: {error.strerror or error}"
    return DataDirError(
        text,
        "it must be a directory that this user may write, on a disk with room; choose it with "
        "--data-dir",
    )


def show_that_it_answers(directory: Path) -> None:
    """Write a file, with the interpreter's lock free. Raises OSError."""
    probe = directory / "probe"
    with private_file(probe) as file:
        file.write(b"1")
        file.flush()
        os.fsync(file.fileno())
    probe.unlink()
