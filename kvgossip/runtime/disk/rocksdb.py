"""RocksDB: the data directory of one node, and the engine in it. A commit here survives kill -9 and
power loss.

    DIR/lock            held while a process uses the directory; contains its process id
    DIR/node.json       whose it is: format of the directory, name, cluster, datacenter
    DIR/db/             RocksDB: b"e" + key -> record, b"f" + key -> fact, b"q" + id -> quarantined
                        value; before each its checksum (protocol/model/checksum.py)
    DIR/options/        one option of RocksDB that rocksdict has no setter for
    DIR/damaged-.../    what `kvgossip agent --rebuild` moved aside

Laws
- `commit` is atomic, and on the disk (fsync) when it returns. After one that failed the engine is
  opened again before the next: it takes nothing more by itself after a full disk, even when there
  is room.
- Data that does not match its checksum is never skipped: neither a flipped bit in a table, nor one
  in the middle of the log, which RocksDB's default would take for the log's end, and so lose
  acknowledged writes silently. RocksDB checks its blocks; the checksum of each value covers the
  whole way from a commit to a start. A log that ends in the middle of a record is no damage: that
  is how it looks after a crash. (One damage looks exactly so: that of a record's
  length in the last 32 KiB of the log.)
- Every error names the directory and says what to do.

Everything here blocks; `commits` and Node decide on which thread it runs. A thread is worth nothing
where the interpreter's lock is held meanwhile, as rocksdict does in `write` and while it opens the
engine, but not in `flush` and `flush_wal`. So `write` only touches memory: the log is flushed by
`flush_wal` (manual_wal_flush) out of a buffer that holds the largest commit, and a table that is
full is switched by `flush`, before the engine would do it in a `write`. Before the engine is
opened, the disk shows that it answers. Why RocksDB: it commits
many small entries with one sync two to four times as fast as LMDB or SQLite (protocol.md section
7), and checks what it reads.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rocksdict import (
    BottommostLevelCompaction,
    CompactOptions,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from kvgossip.errors import DataDirError, DiskFullError, StorageError
from kvgossip.protocol.model.checksum import CHECKSUM_BYTES, checksum
from kvgossip.runtime.disk.engine_options import engine_options
from kvgossip.runtime.disk.folder import (
    Size,
    lock,
    show_that_it_answers,
    sync_folder,
    unusable,
)
from kvgossip.runtime.disk.inherited import begin_engine
from kvgossip.runtime.disk.private_file import PRIVATE_FOLDER, private_file, private_folder

FORMAT = 2
ENTRY, FACT = b"e", b"f"
TABLE_BYTES = 16 * 2**20
"""A table in memory of about so many bytes goes to the disk."""
CHANGE_BYTES = 64
"""What a change takes there beside its key and value."""
BATCH_ENTRIES = 2000
FULL_WORDS = ("No space left on device", "Disk quota exceeded", "Max allowed space was reached")
log = logging.getLogger("kvgossip")

REBUILD_HINT = (
    "restore the directory from a copy, or start with --rebuild and --join: that keeps "
    "it aside and fetches all data from peers"
)


class RocksDB:
    """`directory` belongs to this process once this returns. `name` is empty until the first
    `claim`. Raises DataDirError.

    `ignore_owner`: do not even look whose it is, for `set_aside`.
    """

    def __init__(self, directory: Path, *, ignore_owner: bool = False) -> None:
        self.directory = directory
        self._file = directory / "node.json"
        self._folder = directory / "db"
        #: None: it is not open
        self.engine: Rdict | None = None
        self._write_options = WriteOptions()
        #: about how many bytes are in the table in memory
        self._table_bytes = 0
        #: held by a commit and by the end: a disk that hung may answer in the midst of both
        self._turn = threading.Lock()
        self._is_closed = False
        self._lock = lock(directory)
        try:
            self._owner = {} if ignore_owner else self._read_owner()
        except BaseException:
            self._lock.release()
            raise

    # -- whose it is ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the node whose data this is; empty: no node's yet."""
        return str(self._owner.get("name", ""))

    def _read_owner(self) -> dict[str, Any]:
        try:
            owner = json.loads(self._file.read_bytes())
            data_format, _ = int(owner["format"]), str(owner["name"])
        except FileNotFoundError:
            if self._folder.exists():
                raise DataDirError(
                    f"{self._file} is missing, but there is data beside it", REBUILD_HINT
                ) from None
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataDirError(f"{self._file} cannot be read: {error}", REBUILD_HINT) from error
        if data_format == 1:
            raise DataDirError(
                f"the data directory {self.directory} has format 1, of kvgossip 0.1, and this "
                f"version has format {FORMAT}",
                "run kvgossip 0.1.0 on it and `kvgossip export FILE`, then `kvgossip import FILE` "
                "into a node of this version with an empty --data-dir",
            )
        if data_format > FORMAT:
            text = (
                f"the data directory {self.directory} has format {data_format}, and this "
                f"version of kvgossip knows format {FORMAT}"
            )
            raise DataDirError(
                text,
                "run the newer version that wrote it, or choose another --data-dir and --join a "
                "node to fetch the data",
            )
        return dict(owner)

    def claim(self, *, name: str, cluster: str, datacenter: str) -> None:
        """Make sure that this is the directory of this node. Another name takes it over: so the
        clone of a machine can be given one. Raises DataDirError when it is of another cluster or
        datacenter."""
        wanted = {"cluster": cluster, "datacenter": datacenter}
        if not self._owner:
            self._owner = {"format": FORMAT, "name": name, **wanted}
            self._write_owner()
        for what, value in wanted.items():
            if self._owner.get(what) != value:
                text = (
                    f"the data directory {self.directory} belongs to {what} "
                    f"{self._owner.get(what)!r}, and this node has {what} {value!r}"
                )
                raise DataDirError(
                    text,
                    f"start it with --{what} {self._owner.get(what)}, or choose another --data-dir",
                )
        if self._owner.get("name") != name:
            log.warning(
                "%s: the data directory %s was that of the node %r: its data is this node's now",
                name,
                self.directory,
                self._owner.get("name"),
            )
            self._owner["name"] = name
            self._write_owner()

    def _write_owner(self) -> None:
        fresh = self._file.with_suffix(".new")
        try:
            with private_file(fresh) as file:
                file.write(json.dumps(self._owner, indent=2).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._file)
            sync_folder(self.directory)
        except OSError as error:
            raise unusable(self.directory, error) from error

    def set_aside(self) -> Path | None:
        """Move the data out of the way, so that the node begins with nothing; returns where it is
        now, None if there was none."""
        here = [path for path in (self._folder, self._file) if path.exists()]
        if not here:
            return None
        aside = (
            self.directory
            / f"damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
        )
        try:
            aside.mkdir(mode=PRIVATE_FOLDER)
            for path in here:
                path.rename(aside / path.name)
            sync_folder(self.directory)
        except OSError as error:
            raise unusable(self.directory, error) from error
        self._owner = {}
        return aside

    # -- the engine -------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the engine; recovers everything that the last process had committed. Raises
        DataDirError."""
        begin_engine(self)
        try:
            self._open()
        except StorageError as error:
            hint = "make room on that disk" if isinstance(error, DiskFullError) else REBUILD_HINT
            raise DataDirError(
                f"the data in {self._folder} cannot be opened: {error}", hint
            ) from error

    def _open(self) -> None:
        try:
            show_that_it_answers(self.directory)
            # its files have the modes of the umask: the folder keeps them for its owner
            private_folder(self._folder)
            self.engine = Rdict(str(self._folder), engine_options(self.directory / "options"))
        except Exception as error:  # rocksdict has no other class
            raise _fault(error) from error
        self._table_bytes = 0

    def facts(self) -> dict[bytes, bytes]:
        """All facts, by key. Raises DataDirError where they are damaged."""
        return dict(self._read(FACT))

    def entries(self) -> Iterator[list[tuple[str, bytes]]]:
        """All keys with records, some at a time. Raises DataDirError where they are damaged."""
        batch: list[tuple[str, bytes]] = []
        for key, record in self._read(ENTRY):
            batch.append((key.decode(), record))
            if len(batch) == BATCH_ENTRIES:
                yield batch
                batch = []
        yield batch

    def entries_estimate(self) -> int:
        """About how many entries there are."""
        return int(self._open_engine.property_int_value("rocksdb.estimate-num-keys") or 0)

    def scan(self, kind: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` keys of a kind, with values, that are greater than `after`."""
        found: list[tuple[bytes, bytes]] = []
        for key, value in self._read(kind, after):
            if len(found) == limit:
                break
            if key > after:
                found.append((key, value))
        return found

    def count(self, kind: bytes) -> int:
        """How many keys there are of a kind; their values are not read."""
        iterator, found = self._open_engine.iter(ReadOptions()), 0
        iterator.seek(kind)
        while iterator.valid() and iterator.key()[:1] == kind:
            found += 1
            iterator.next()
        return found

    def _read(self, kind: bytes, since: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        options = ReadOptions()
        options.set_verify_checksums(True)
        iterator = self._open_engine.iter(options)
        iterator.seek(kind + since)
        while iterator.valid():
            key = iterator.key()
            if key[:1] != kind:
                break
            stored = iterator.value()
            value = stored[CHECKSUM_BYTES:]
            if checksum(key, value) != stored[:CHECKSUM_BYTES]:
                raise self._damaged(f"the checksum of {key[1:]!r} does not match its value")
            yield key[1:], value
            iterator.next()
        try:
            # at a damaged block an iterator ends like at the end of the data, and says so only here
            iterator.status()
        except Exception as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> DataDirError:
        return DataDirError(f"the data in {self._folder} is damaged: {what}", REBUILD_HINT)

    def commit(self, changes: Mapping[bytes, bytes | None]) -> float:
        """Put all of this on the disk, or nothing; None removes. Returns the seconds that the disk
        took.

        Raises DiskFullError, or StorageError for any other fault of the disk, and after `close`.
        """
        with self._turn:
            return self._commit(changes)

    def _commit(self, changes: Mapping[bytes, bytes | None]) -> float:
        if self._is_closed:
            raise StorageError(f"the data in {self._folder} is closed", "start the node again")
        if self.engine is None:
            self._open()
        batch = WriteBatch(raw_mode=True)
        put, batch_bytes = batch.put, CHANGE_BYTES * len(changes)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
                batch_bytes += len(key)
            else:
                put(key, checksum(key, value) + value)
                batch_bytes += len(key) + len(value)
        engine, started_s = self._open_engine, time.perf_counter()
        try:
            if self._table_bytes + batch_bytes > TABLE_BYTES:
                engine.flush(False)
                self._table_bytes = 0
            engine.write(batch, self._write_options)
            self._table_bytes += batch_bytes
            engine.flush_wal(True)
        except Exception as error:
            self._close_engine()
            raise _fault(error) from error
        return time.perf_counter() - started_s

    def compact(self) -> None:
        """Write everything anew, without what was removed. On a thread of its own: commits go on
        meanwhile. Raises StorageError."""
        engine = self.engine
        if engine is None:
            return
        options = CompactOptions()
        # else the marks of what was removed stay where nothing lies below them
        options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
        options.set_exclusive_manual_compaction(False)
        try:
            engine.compact_range(None, None, options)
        except Exception as error:
            raise _fault(error) from error

    def stop_compacting(self) -> None:
        """Let a `compact` on another thread end soon. After the last commit: then the engine may
        only be closed."""
        if self.engine is not None:
            # to wait for it would hold the interpreter's lock
            self.engine.cancel_all_background(False)

    @property
    def _open_engine(self) -> Rdict:
        if self.engine is None:
            raise StorageError(
                f"the data in {self._folder} is not open",
                "the node opens it again as soon as the disk lets it",
            )
        return self.engine

    def size(self) -> Size:
        """Of the engine's files, and what the disk has left."""
        sizes = 0
        for name in os.listdir(self._folder):
            try:
                sizes += (self._folder / name).stat().st_size
            except FileNotFoundError:
                continue  # a compaction is done with it
        return Size(sizes, shutil.disk_usage(self._folder).free)

    def close(self) -> None:
        """Let the directory go, once a commit that is under way has ended. Harmless when
        repeated."""
        with self._turn:
            self._is_closed = True
            self._close_engine()
            self._lock.release()

    def _close_engine(self) -> None:
        db, self.engine = self.engine, None
        if db is not None:
            try:
                db.close()
            except Exception as error:
                # after a full disk it says so again; what was committed is safe, and the callers
                # know of everything that was not
                del error


def _fault(error: Exception) -> StorageError:
    text = str(error)
    if any(words in text for words in FULL_WORDS):
        return DiskFullError(
            f"the disk is full: {text}",
            "make room: the node goes on by itself then; reads are answered meanwhile",
        )
    return StorageError(
        f"the disk fails: {text}",
        "see to the disk; the node tries again by itself, and answers reads meanwhile",
    )
