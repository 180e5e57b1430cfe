"""The last-known-good of a process that follows over HTTP, in a file: what it begins with while no
node answers.

It is written whole, beside the old one, and takes its name in one step: so it is one or the other
whenever the process dies, and several processes may keep the same file. It is for its owner alone.
A file that cannot be used is as good as none, with a line in the log.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Literal

import msgspec

from kvgossip.cache.source import Record
from kvgossip.runtime.disk.private_file import private_file

log = logging.getLogger("kvgossip")


class Kept(msgspec.Struct, frozen=True):
    """`cursor` goes on after these records, on the life of the node that gave it."""

    format: Literal[1]
    prefix: str
    cursor: str
    exchanged_ms: int | None
    records: list[Record]


def read_kept(path: Path, prefix: str) -> Kept | None:
    """None where there is none that can be used for this prefix."""
    try:
        kept = _read(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        log.warning("%s is not used: it cannot be read: %s", path, error)
        return None
    if kept.prefix != prefix:
        log.warning("%s is not used: it has the prefix %r, and not %r", path, kept.prefix, prefix)
        return None
    return kept


def write_kept(path: Path, kept: Kept) -> None:
    """Raises OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with private_file(fresh) as file:
            file.write(msgspec.msgpack.encode(kept))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


_read = msgspec.msgpack.Decoder(Kept).decode
