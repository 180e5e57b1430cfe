"""The data directory: what is committed is there, and what is wrong with it is told in one clear
error."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from rocksdict import WriteBatch

from kvgossip.errors import DataDirError, DiskFullError, StorageError
from kvgossip.protocol.model.checksum import checksum
from kvgossip.runtime.disk.rocksdb import (
    BATCH_ENTRIES,
    ENTRY,
    FACT,
    FORMAT,
    TABLE_BYTES,
    RocksDB,
)
from tests.runtime.disk.disks import flip_a_byte, freezable_disk, newest, remount, small_disk

OWNER = {"name": "a", "cluster": "shop", "datacenter": "dc1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def storage(folder: Path) -> Iterator[RocksDB]:
    opened = opened_at(folder)
    yield opened
    opened.close()


def opened_at(folder: Path) -> RocksDB:
    storage = RocksDB(folder)
    try:
        storage.claim(**OWNER)
        storage.open()
    except BaseException:
        storage.close()
        raise
    return storage


def entries(storage: RocksDB) -> dict[str, bytes]:
    return dict(pair for batch in storage.entries() for pair in batch)


def fill(storage: RocksDB, count: int, size: int = 100) -> dict[str, bytes]:
    """Entries that do not compress."""
    rng = random.Random(1)
    records = {f"key-{number:06}": rng.randbytes(size) for number in range(count)}
    storage.commit({ENTRY + key.encode(): record for key, record in records.items()})
    return records


def copied(folder: Path, to: Path) -> Path:
    """The directory as a crash of this moment would leave it."""
    return Path(shutil.copytree(folder, to))


def refused(folder: Path) -> str:
    """What is told of a directory that cannot be used; it lets the directory go."""

    def use() -> None:
        storage = opened_at(folder)
        try:
            entries(storage)
        finally:
            storage.close()

    with pytest.raises(DataDirError) as caught:
        use()
    assert caught.value.hint
    return str(caught.value)


# -- what is committed is there ------------------------------------------------------------------


def test_what_was_committed_is_there_when_the_directory_is_opened_again(
    storage: RocksDB, folder: Path
) -> None:
    storage.commit({ENTRY + b"a": b"1", ENTRY + b"b": b"2", FACT + b"fact": b"3"})
    storage.commit({ENTRY + b"a": None, ENTRY + "ç".encode(): b"4"})
    storage.close()
    again = opened_at(folder)
    assert entries(again) == {"b": b"2", "ç": b"4"}
    assert again.facts() == {b"fact": b"3"}
    again.close()


def test_what_was_committed_is_there_after_a_crash_in_that_moment(
    storage: RocksDB, folder: Path, tmp_path: Path
) -> None:
    records = fill(storage, 500)
    crashed = opened_at(copied(folder, tmp_path / "crashed"))
    assert entries(crashed) == records
    crashed.close()


def test_entries_come_in_batches_and_facts_are_none_of_them(storage: RocksDB) -> None:
    records = fill(storage, 2 * BATCH_ENTRIES + 1, size=10)
    storage.commit({FACT + b"x": b"y"})
    batches = list(storage.entries())
    assert [len(batch) for batch in batches] == [BATCH_ENTRIES, BATCH_ENTRIES, 1]
    assert dict(pair for batch in batches for pair in batch) == records
    assert storage.entries_estimate() >= len(records)


def test_keys_of_a_kind_are_scanned_in_order_from_a_place_on_and_counted(storage: RocksDB) -> None:
    storage.commit({b"q" + bytes([number]): b"v" for number in range(5)} | {b"r": b"other"})
    assert [key for key, _ in storage.scan(b"q", bytes([1]), 2)] == [bytes([2]), bytes([3])]
    assert [key for key, _ in storage.scan(b"q", b"", 99)] == [
        bytes([number]) for number in range(5)
    ]
    assert [storage.count(kind) for kind in (b"q", b"r", b"s")] == [5, 1, 0]


def test_the_size_on_the_disk_is_told(storage: RocksDB) -> None:
    before = storage.size()
    assert before.free_bytes > 0
    fill(storage, 1000)
    assert storage.size().used_bytes > before.used_bytes + 100_000


# -- whose it is ---------------------------------------------------------------------------------


def test_a_directory_has_one_owner_at_a_time_and_the_error_names_it(
    storage: RocksDB, folder: Path
) -> None:
    assert f"in use by the process {os.getpid()}" in refused(folder)
    storage.close()
    opened_at(folder).close()


def test_a_commit_that_comes_after_the_end_does_not_take_the_directory_again(
    storage: RocksDB, folder: Path
) -> None:
    storage.close()
    with pytest.raises(StorageError, match="is closed"):
        storage.commit({ENTRY + b"late": b"1"})
    again = opened_at(folder)
    assert entries(again) == {}
    again.close()


@pytest.mark.parametrize("other", [{"cluster": "blog"}, {"datacenter": "tokyo"}])
def test_a_directory_of_another_cluster_is_refused_and_not_touched(
    storage: RocksDB, folder: Path, other: dict[str, str]
) -> None:
    storage.close()
    ((what, value),) = other.items()
    before = (folder / "node.json").read_bytes()
    stranger = RocksDB(folder)
    with pytest.raises(
        DataDirError, match=f"belongs to {what} '{OWNER[what]}', and this node has {what} '{value}'"
    ) as caught:
        stranger.claim(**{**OWNER, **other})
    stranger.close()
    assert f"--{what} {OWNER[what]}" in caught.value.hint
    assert (folder / "node.json").read_bytes() == before


def test_another_name_takes_a_directory_over_and_says_so(
    storage: RocksDB, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage.close()
    clone = RocksDB(folder)
    clone.claim(**{**OWNER, "name": "b"})
    clone.close()
    assert "was that of the node 'a'" in caplog.text
    assert RocksDB(folder).name == "b"


def test_a_directory_knows_its_name(storage: RocksDB, folder: Path) -> None:
    storage.close()
    again = RocksDB(folder)
    assert again.name == "a"
    again.close()


def test_a_directory_of_a_newer_format_is_refused_before_anything_is_read(
    storage: RocksDB, folder: Path
) -> None:
    storage.close()
    (folder / "node.json").write_text(json.dumps({"format": FORMAT + 1, "name": "a"}))
    assert (
        f"has format {FORMAT + 1}, and this version of kvgossip knows format {FORMAT}"
        in refused(folder)
    )


def test_a_directory_of_format_1_is_refused_in_words_that_name_the_way_over(
    storage: RocksDB, folder: Path
) -> None:
    storage.close()
    (folder / "node.json").write_text(json.dumps({"format": 1, **OWNER}))
    with pytest.raises(DataDirError, match=r"has format 1, of kvgossip 0\.1") as caught:
        RocksDB(folder)
    for words in ("run kvgossip 0.1.0 on it", "kvgossip export FILE", "kvgossip import FILE"):
        assert words in caught.value.hint


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "x", "name": "a"}'])
def test_an_owner_file_that_is_no_owner_file_is_refused(
    storage: RocksDB, folder: Path, content: str
) -> None:
    storage.close()
    (folder / "node.json").write_text(content)
    assert f"{folder / 'node.json'} cannot be read" in refused(folder)


def test_data_without_its_owner_file_is_nobody_s(storage: RocksDB, folder: Path) -> None:
    storage.close()
    (folder / "node.json").unlink()
    assert "node.json is missing, but there is data beside it" in refused(folder)


def test_unknown_fields_of_the_owner_file_are_ignored(storage: RocksDB, folder: Path) -> None:
    storage.close()
    (folder / "node.json").write_text(json.dumps({"format": FORMAT, **OWNER, "later": 1}))
    opened_at(folder).close()


def test_what_is_set_aside_is_kept_and_the_directory_begins_anew(
    storage: RocksDB, folder: Path
) -> None:
    records = fill(storage, 10)
    storage.close()
    (folder / "node.json").write_text("damaged")
    fresh = RocksDB(folder, ignore_owner=True)
    aside = fresh.set_aside()
    assert aside is not None
    assert (aside / "node.json").read_text() == "damaged"
    fresh.claim(**OWNER)
    fresh.open()
    assert entries(fresh) == {}
    fresh.close()
    (aside / "node.json").unlink()
    (aside / "node.json").write_text(json.dumps({"format": FORMAT, **OWNER}))
    kept = opened_at(aside)
    assert entries(kept) == records
    kept.close()


def test_there_may_be_nothing_to_set_aside(folder: Path) -> None:
    storage = RocksDB(folder, ignore_owner=True)
    assert storage.set_aside() is None
    storage.close()


# -- faults of the disk --------------------------------------------------------------------------


def test_a_path_that_cannot_be_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert f"the data directory {tmp_path / 'file'} cannot be used" in refused(tmp_path / "file")


def test_a_directory_that_is_read_only_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2**20) as disk:
        remount(disk, "ro")
        assert f"{disk} cannot be used: Read-only file system" in refused(disk)


def test_a_flipped_byte_in_a_table_is_never_skipped(storage: RocksDB, folder: Path) -> None:
    fill(storage, 2000)
    storage.close()
    opened_at(folder).close()  # what was in the log is a table now
    flip_a_byte(newest(folder / "db", "*.sst"))
    assert "the data in" in (told := refused(folder))
    assert "checksum" in told or "Corruption" in told


@pytest.mark.parametrize("kind", [ENTRY, FACT])
def test_a_value_that_does_not_match_its_checksum_is_never_taken(
    storage: RocksDB, folder: Path, kind: bytes
) -> None:
    storage.commit({ENTRY + b"a": b"1", FACT + b"a": b"1"})
    damaged = WriteBatch(raw_mode=True)
    damaged.put(kind + b"a", checksum(kind + b"a", b"1") + b"2")
    storage._open_engine.write(damaged)

    def read() -> None:
        entries(storage)
        storage.facts()

    with pytest.raises(DataDirError, match="the checksum of b'a' does not match its value"):
        read()


def test_a_flipped_byte_in_the_log_is_never_taken_for_its_end(
    storage: RocksDB, folder: Path, tmp_path: Path
) -> None:
    for number in range(50):
        storage.commit({ENTRY + str(number).encode(): bytes(200)})
    crashed = copied(folder, tmp_path / "crashed")
    flip_a_byte(newest(crashed / "db", "*.log"), place=150)
    assert "checksum mismatch" in refused(crashed)


@pytest.mark.parametrize("seed", range(5))
def test_a_log_that_was_cut_anywhere_after_the_last_sync_opens_with_all_that_was_synced(
    storage: RocksDB, folder: Path, tmp_path: Path, seed: int
) -> None:
    records = fill(storage, 50)
    log = newest(folder / "db", "*.log")
    synced = log.stat().st_size
    storage.commit({ENTRY + b"later": bytes(1000)})
    crashed = copied(folder, tmp_path / "crashed")
    os.truncate(
        crashed / "db" / log.name, random.Random(seed).randint(synced, log.stat().st_size - 1)
    )
    again = opened_at(crashed)
    assert entries(again) == records
    again.close()


def test_a_full_disk_is_told_and_takes_writes_again_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * 2**20) as disk:
        storage = opened_at(disk / "data")
        value, stored = random.Random(1).randbytes(50_000), 0

        def fill_up() -> None:
            nonlocal stored
            for stored in range(1000):
                storage.commit({ENTRY + str(stored).encode(): value})

        with pytest.raises(DiskFullError, match="the disk is full"):
            fill_up()
        with pytest.raises(DiskFullError):
            storage.commit({ENTRY + b"more": value})
        remount(disk, "size=64m")
        storage.commit({ENTRY + b"more": value})
        assert len(entries(storage)) == stored + 1
        storage.close()


def test_a_disk_that_is_full_at_the_start_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2**20) as disk:
        with suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        told = refused(disk / "data")
        assert "No space left on device" in told


# -- a disk that hangs ---------------------------------------------------------------------------


def one_entry(storage: RocksDB) -> None:
    storage.commit({ENTRY + b"later": b"1"})


def large_entries(storage: RocksDB) -> None:
    """The second one makes the engine switch its table."""
    for number in range(2):
        storage.commit({ENTRY + b"%d" % number: bytes(TABLE_BYTES - 4096)})


def after_a_fault(storage: RocksDB) -> None:
    storage._close_engine()
    one_entry(storage)


@pytest.mark.parametrize(
    "blocking",
    [one_entry, large_entries, after_a_fault, RocksDB.compact, RocksDB.stop_compacting],
    ids=lambda blocking: blocking.__name__,
)
def test_a_disk_that_hangs_holds_the_thread_that_waits_for_it_and_no_other(
    tmp_path: Path, blocking: Callable[[RocksDB], None]
) -> None:
    with freezable_disk(tmp_path / "disk") as disk:
        storage = opened_at(disk.folder / "data")
        fill(storage, 100)
        waits = threading.Thread(target=blocking, args=(storage,))
        # were the interpreter's lock held, this thread would not come to thaw the disk
        rescue = subprocess.Popen(["sh", "-c", 'sleep 20; fsfreeze -u "$0"', str(disk.folder)])
        try:
            disk.freeze()
            waits.start()
            waits.join(0.2)
            assert disk.thaw(), "all threads stood until somebody else thawed the disk"
            waits.join()
        finally:
            rescue.kill()
            rescue.wait()
        storage.close()
