"""Kills in small: the loop of benchmarks.kill with two of them, and that it would notice a loss;
and the benchmark of restarts."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import durability, kill
from kvgossip.protocol.model.entry import Version, make_record, version_of
from kvgossip.runtime.disk.rocksdb import RocksDB


async def test_acknowledged_writes_survive_some_kills() -> None:
    told = await kill.run(kills=2, writers=1, seed=1)
    assert (told["kills"], told["lost"]) == (2, 0)
    assert told["writes_acknowledged"] > 0


def test_the_end_of_the_last_acknowledged_commit_is_found_in_a_log(tmp_path: Path) -> None:
    storage = RocksDB(tmp_path)
    storage.claim(name="n", cluster="c", datacenter="d")
    storage.open()
    sizes, records = [], [make_record(Version(number + 1, 7), bytes(30_000)) for number in range(3)]
    for number, record in enumerate(records):
        storage.commit({f"ekey-{number}".encode(): record})
        sizes.append(max((tmp_path / "db").glob("*.log")).stat().st_size)
    log = max((tmp_path / "db").glob("*.log")).read_bytes()
    storage.close()
    for number, record in enumerate(records):
        assert kill.synced_bytes(log, {"key": str(version_of(record))}) == sizes[number]
    assert kill.synced_bytes(log, {}) == 0


def test_the_acknowledged_commit_is_found_whatever_bytes_its_checksum_has(tmp_path: Path) -> None:
    storage = RocksDB(tmp_path)
    storage.open()
    records = [make_record(Version(number + 1, 7), bytes(100)) for number in range(200)]
    sizes = []
    for number, record in enumerate(records):
        storage.commit({f"ekey-{number}".encode(): record})
        sizes.append(max((tmp_path / "db").glob("*.log")).stat().st_size)
    log = max((tmp_path / "db").glob("*.log")).read_bytes()
    storage.close()
    found = [kill.synced_bytes(log, {"key": str(version_of(record))}) for record in records]
    assert found == sizes


def test_a_missing_write_is_noticed() -> None:
    with pytest.raises(kill.LostError, match="1 of 2"):
        kill.check({"a": "1", "b": "2"}, {"a": "2", "b": "1"}, "here")


def test_a_restart_is_measured(tmp_path: Path) -> None:
    options = Namespace(keys=1500, kinds=("kvgossip",), dir=str(tmp_path), rounds=1)
    (found,) = durability.measure_restart(options)
    assert found["disk bytes a key"] > 0
