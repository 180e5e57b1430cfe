"""RocksDB: the data directory of one node, and the engine in it. A commit here survives kill -9 and
power loss.

    DIR/lock            held while a process uses the directory; contains its process id
    DIR/node.json       whose it is: format of the directory, name, cluster, datacenter
    DIR/db/             RocksDB: b"e" + key -> record, b"f" + key -> fact, b"q" + id -> quarantined
                        value
    DIR/damaged-.../    what `kvgossip agent --rebuild` moved aside

Laws
- `commit` is atomic, and on the disk (fsync) when it returns. After one that failed the engine is
  opened again before the next: it takes nothing more by itself after a full disk, even when there
  is room.
- Data that does not match its checksum is never skipped: neither a flipped bit in a table, nor one
  in the middle of the log, which RocksDB's default would take for the log's end, and so lose
  acknowledged writes silently. A log that ends in the middle of a record is no damage: that is how
  it looks after a crash. (One damage looks exactly so: that of a record's length in the last 32 KiB
  of the log.)
- Every error names the directory and says what to do.

Everything here blocks; `commits` and Node decide on which thread it runs. Why RocksDB: it commits
many small entries with one sync two to four times as fast as LMDB or SQLite (protocol.md section
7), and checks what it reads.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rocksdict import (
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    CompactOptions,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from kvgossip.errors import DataDirError, DiskFullError, StorageError

FORMAT = 1
ENTRY, FACT = b"e", b"f"
WRITE_BUFFER_BYTES = 16 * 2**20
BLOCK_CACHE_BYTES = 4 * 2**20
OPEN_FILES_MAX = 256
LOG_FILES = 2
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
        self._db: Rdict | None = None
        self._sync = WriteOptions()
        self._sync.sync = True
        self._lock = _lock(directory)
        try:
            self._owner = {} if ignore_owner else self._read_owner()
        except BaseException:
            self._unlock()
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
            with open(fresh, "wb") as file:
                file.write(json.dumps(self._owner, indent=2).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._file)
            _sync_folder(self.directory)
        except OSError as error:
            raise _unusable(self.directory, error) from error

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
            aside.mkdir()
            for path in here:
                path.rename(aside / path.name)
            _sync_folder(self.directory)
        except OSError as error:
            raise _unusable(self.directory, error) from error
        self._owner = {}
        return aside

    # -- the engine -------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the engine; recovers everything that the last process had committed. Raises
        DataDirError."""
        try:
            self._open()
        except StorageError as error:
            hint = "make room on that disk" if isinstance(error, DiskFullError) else REBUILD_HINT
            raise DataDirError(
                f"the data in {self._folder} cannot be opened: {error}", hint
            ) from error

    def _open(self) -> None:
        try:
            self._db = Rdict(str(self._folder), _options())
        except Exception as error:  # rocksdict has no other class
            raise _fault(error) from error

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
        return int(self._engine.property_int_value("rocksdb.estimate-num-keys") or 0)

    def scan(self, kind: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` keys of a kind, with values, that are greater than `after`."""
        found: list[tuple[bytes, bytes]] = []
        for key, value in self._read(kind, after):
            if len(found) == limit:
                break
            if key > after:
                found.append((key, value))
        return found

    def _read(self, kind: bytes, since: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        options = ReadOptions()
        options.set_verify_checksums(True)
        iterator = self._engine.iter(options)
        iterator.seek(kind + since)
        while iterator.valid():
            key = iterator.key()
            if key[:1] != kind:
                break
            yield key[1:], iterator.value()
            iterator.next()
        try:
            # at a damaged block an iterator ends like at the end of the data, and says so only here
            iterator.status()
        except Exception as error:
            raise DataDirError(
                f"the data in {self._folder} is damaged: {error}", REBUILD_HINT
            ) from error

    def commit(self, changes: Mapping[bytes, bytes | None]) -> float:
        """Put all of this on the disk, or nothing; None removes. Returns the seconds that the disk
        took.

        Raises DiskFullError, or StorageError for any other fault of the disk.
        """
        if self._db is None:
            self._open()
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        started_s = time.perf_counter()
        try:
            self._engine.write(batch, self._sync)
        except Exception as error:
            self._close_engine()
            raise _fault(error) from error
        return time.perf_counter() - started_s

    def compact(self) -> None:
        """Write everything anew, without what was removed. On a thread of its own: commits go on
        meanwhile. Raises StorageError."""
        engine = self._db
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
        if self._db is not None:
            self._db.cancel_all_background(True)

    @property
    def _engine(self) -> Rdict:
        if self._db is None:
            raise StorageError(
                f"the data in {self._folder} is not open",
                "the node opens it again as soon as the disk lets it",
            )
        return self._db

    def bytes_used(self) -> int:
        """The size of the engine's files."""
        sizes = 0
        for name in os.listdir(self._folder):
            try:
                sizes += (self._folder / name).stat().st_size
            except FileNotFoundError:
                continue  # a compaction is done with it
        return sizes

    def close(self) -> None:
        """Harmless when repeated."""
        self._close_engine()
        self._unlock()

    def _close_engine(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except Exception as error:
                # after a full disk it says so again; what was committed is safe, and the callers
                # know of everything that was not
                del error

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_paranoid_checks(True)
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    # everything is in the node's memory, so the engine needs little
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(BLOCK_CACHE_BYTES))
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_open_files(OPEN_FILES_MAX)
    options.set_keep_log_file_num(LOG_FILES)
    options.set_stats_dump_period_sec(0)
    return options


def _lock(directory: Path) -> int:
    """The lock, as an open file: the kernel releases it however the process ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unusable(directory, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode(errors="replace") or "unknown"
        os.close(lock)
        text = f"the data directory {directory} is in use by the process {holder}"
        raise DataDirError(
            text, "stop that process, or give this node a --data-dir of its own"
        ) from None
    except OSError as error:
        os.close(lock)
        raise _unusable(directory, error) from error
    return lock


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _unusable(directory: Path, error: OSError) -> DataDirError:
    text = f"the data directory {directory} cannot be used: {error.strerror or error}"
    return DataDirError(
        text,
        "it must be a directory that this user may write, on a disk with room; choose it with "
        "--data-dir",
    )


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
