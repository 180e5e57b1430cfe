"""Files and folders for their owner alone, whatever the umask. A link in the place of a file that
is written is refused: whoever may make one there could have another file of this user
overwritten."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def private_descriptor(path: str | Path, flags: int) -> int:
    """The file, made where `flags` say so and it is not there. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        os.fchmod(descriptor, PRIVATE_FILE)
    except PermissionError:
        # it is another user's, who gave it to a group that we are in
        pass
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def private_file(path: str | Path) -> IO[bytes]:
    """An empty file to write to. Raises OSError."""
    return os.fdopen(private_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")


def private_folder(path: Path) -> None:
    """The folder, made where it is not there. Raises OSError."""
    path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    if path.stat().st_uid == os.geteuid():
        path.chmod(PRIVATE_FOLDER)
