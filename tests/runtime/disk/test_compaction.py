"""When much was removed, what it took goes back: on the disk, and, as far as the allocator is
asked, in memory."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path

import pytest

from kvgossip import Node
from kvgossip.errors import StorageError
from kvgossip.runtime.disk.compaction import REMOVED_MIN, Compaction
from kvgossip.runtime.disk.rocksdb import ENTRY, RocksDB
from tests.runtime.test_node import TIMEOUT_S, configured, until

KEYS = 3000


def filled(folder: Path, keys: int) -> RocksDB:
    storage, rng = RocksDB(folder), random.Random(1)
    storage.claim(name="n1", cluster="c", datacenter="dc1")
    storage.open()
    for start in range(0, keys, 1000):
        storage.commit(
            {ENTRY + b"%08d" % number: rng.randbytes(100) for number in range(start, start + 1000)}
        )
    return storage


def bytes_of_tables(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "db").glob("*.sst"))


def test_compacting_takes_what_was_removed_off_the_disk_and_nothing_else(tmp_path: Path) -> None:
    storage = filled(tmp_path, 20_000)
    storage.compact()
    full = bytes_of_tables(tmp_path)
    storage.commit({ENTRY + b"%08d" % number: None for number in range(0, 20_000) if number % 10})
    storage.compact()
    assert bytes_of_tables(tmp_path) < full / 5
    assert [key for portion in storage.entries() for key, _ in portion] == [
        f"{number:08}" for number in range(0, 20_000, 10)
    ]
    storage.close()


def test_after_compacting_was_stopped_everything_is_there(tmp_path: Path) -> None:
    storage = filled(tmp_path, 20_000)
    compacting = threading.Thread(target=storage.compact)
    compacting.start()
    storage.stop_compacting()
    compacting.join(TIMEOUT_S)
    storage.close()
    storage = RocksDB(tmp_path)
    storage.open()
    assert sum(map(len, storage.entries())) == 20_000
    storage.close()


async def test_a_node_tidies_once_after_many_keys_have_gone(tmp_path: Path) -> None:
    async with Node(configured(data_dir=str(tmp_path))) as node:
        # longer than a busy machine lets the store wait between two portions of what it collects
        node._running.compaction.quiet_s = 2.0
        for number in range(KEYS):
            node.begin_put(f"k{number}", b"v" * 100)
        await node.put("stays", b"v")
        for number in range(KEYS):
            node.begin_delete(f"k{number}")
        await until(lambda: node._running.compaction.times > 0)
        assert node.status()["statistics"]["entries"] == 1
        assert bytes_of_tables(tmp_path) < 10_000
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Counted:
    """A storage that is compacted until the test has had enough."""

    def __init__(self) -> None:
        self.began, self.goes_on = threading.Event(), threading.Event()

    def compact(self) -> None:
        self.began.set()
        assert self.goes_on.wait(TIMEOUT_S)
        raise StorageError("it was stopped")

    def stop_compacting(self) -> None:
        self.goes_on.set()


async def test_little_that_was_removed_is_left_where_it_is() -> None:
    storage = Counted()
    tidy = Compaction(storage, lambda: 100_000, "n1", quiet_s=0.0)  # type: ignore[arg-type]
    for _ in range(5000):
        tidy.removed()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not storage.began.is_set()
    await tidy.close()


async def test_a_node_that_stops_does_not_wait_for_the_disk_to_be_tidied(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = Counted()
    tidy = Compaction(storage, lambda: 10, "n1", quiet_s=0.0)  # type: ignore[arg-type]
    for _ in range(REMOVED_MIN):
        tidy.removed()
    await asyncio.to_thread(storage.began.wait, TIMEOUT_S)
    await tidy.close()
    assert tidy.times == 0
    assert "it was stopped" in caplog.text
