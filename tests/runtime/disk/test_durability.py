"""Nodes with a data directory: what was acknowledged is there after any end, and a fault of the
disk is told and survived."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kvgossip.api.listening import listen
from kvgossip.api.server import ApiServer
from kvgossip.config import Address
from kvgossip.errors import (
    ConfigError,
    DataDirError,
    DiskFullError,
    LocalError,
    NotSettledError,
    StorageError,
)
from kvgossip.protocol.effect import Dropped, Quarantined
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.runtime.disk import group_commit as commits_module
from kvgossip.runtime.disk.data_dir import DataDir
from kvgossip.runtime.disk.rocksdb import RocksDB
from kvgossip.runtime.node import Node
from tests.api.serving import NOBODY
from tests.runtime.disk.disks import flip_a_byte, newest, remount, small_disk
from tests.runtime.test_node import (
    TIMEOUT_S,
    configured,
    until,
    until_seen,
    until_together,
    until_value,
)


@pytest.fixture(autouse=True)
async def no_task_is_left_behind() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def durable(folder: Path, name: str = "n1", *friends: Node, **settings: Any) -> Node:
    return Node(configured(name, *friends, data_dir=str(folder / name), **settings))


def crashed(folder: Path, name: str = "n1") -> Path:
    """The folder as it would be had this node's process been killed now."""
    copy = folder / "crashed"
    shutil.copytree(folder / name, copy / name)
    return copy


async def kill(node: Node) -> None:
    """The nearest to kill -9 that one process can do to a part of itself: no farewell."""
    await node.stop(leave=False)


class BadDisk:
    """What a test makes of `RocksDB.commit`: it waits at a gate, or fails, for as long as it is
    told to.

    `begun` counts those that have come to the gate; `commits` are those that were done.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fault: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0
        self.commits: list[Mapping[bytes, bytes | None]] = []
        real = RocksDB.commit

        def commit(storage: RocksDB, changes: Mapping[bytes, bytes | None]) -> float:
            self.begun += 1
            self.gate.wait(TIMEOUT_S)
            if self.fault is not None:
                raise self.fault
            self.commits.append(dict(changes))
            return real(storage, changes)

        monkeypatch.setattr(RocksDB, "commit", commit)

    def slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on the loop waits itself for no commit."""
        monkeypatch.setattr(
            commits_module.GroupCommit, "_is_quick", lambda commits, batch_bytes: False
        )

    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on the loop waits itself for every commit, however long this machine takes for
        one."""
        monkeypatch.setattr(
            commits_module.GroupCommit, "_is_quick", lambda commits, batch_bytes: True
        )
        monkeypatch.setattr(commits_module, "INLINE_S_MAX", TIMEOUT_S)


# -- restarts ------------------------------------------------------------------------------------


async def test_an_acknowledged_write_is_on_the_disk_in_that_moment(tmp_path: Path) -> None:
    async with durable(tmp_path) as node:
        entry = await node.put("key", b"1", content_type="text/plain")
        await node.put("gone", b"2")
        await node.delete("gone")
        folder = crashed(tmp_path)
    async with durable(folder) as back:
        assert back.entry("key") == entry
        assert back.get("gone") is None
        assert back.settled


async def test_a_node_starts_again_with_its_name_and_a_later_life(tmp_path: Path) -> None:
    first = Node(configured("", data_dir=str(tmp_path)))
    async with first:
        generation, site, name = first.members()[0].generation, first.members()[0].site, first.name
    # another port, from which another name would follow
    async with Node(configured("", data_dir=str(tmp_path))) as again:
        assert again.name == name
        assert again.members()[0].generation > generation
        assert again.members()[0].site != site


async def test_a_stopped_node_may_be_started_again_with_its_data(tmp_path: Path) -> None:
    node = durable(tmp_path)
    for value in (b"1", b"2"):
        async with node:
            before = node.get("key")
            await node.put("key", value)
    assert before == b"1"


async def test_lesson_17_data_on_the_local_disk_is_readable_though_no_peer_is_up(
    tmp_path: Path,
) -> None:
    async with durable(tmp_path, "n1") as n1, durable(tmp_path, "n2", n1) as n2:
        await n2.wait_settled(TIMEOUT_S)
        await n1.put("key", b"1")
        await until_value(n2, "key", b"1")
    async with durable(tmp_path, "n2", join=(NOBODY,)) as alone:
        assert alone.get("key") == b"1"
        with pytest.raises(NotSettledError):
            alone.get("another")
        await until(lambda: not alone.not_ready)
        assert alone.get("another") is None
        assert (alone.settled, alone.status()["stale_s"] >= 0) == (False, True)
        assert alone.status()["memory_only"] is False


async def test_lesson_16_a_node_that_never_settled_does_not_answer_after_a_restart_either(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        async with durable(tmp_path, "n1", join=(NOBODY,)) as node:
            with pytest.raises(NotSettledError):
                node.get("key")
            await node.put("own", b"1")


async def test_lesson_18_a_node_without_its_old_disk_is_not_ready_before_it_has_caught_up(
    tmp_path: Path,
) -> None:
    async with durable(tmp_path, "n1") as n1:
        await n1.put("key", b"1")
        async with durable(tmp_path, "n2", n1) as n2:
            await n2.wait_settled(TIMEOUT_S)
        shutil.rmtree(tmp_path / "n2")
        async with durable(tmp_path, "n2", join=(NOBODY,)) as empty:
            assert not empty.settled
            await empty.join(str(n1.address))
            await empty.wait_settled(TIMEOUT_S)
            assert empty.get("key") == b"1"


async def test_what_came_from_peers_is_kept_too(tmp_path: Path) -> None:
    async with durable(tmp_path, "n1") as n1, durable(tmp_path, "n2", n1) as n2:
        await n2.wait_settled(TIMEOUT_S)
        await n1.put("key", b"1")
        await until_value(n2, "key", b"1")
    async with durable(tmp_path, "n2", join=(NOBODY,)) as alone:
        assert alone.get("key") == b"1"


async def test_a_restart_finds_its_peers_though_its_join_address_is_gone(tmp_path: Path) -> None:
    async with (
        durable(tmp_path, "n1") as n1,
        durable(tmp_path, "n2", n1) as n2,
        durable(tmp_path, "n3", n1) as n3,
    ):
        # one that had not settled would rightly answer no read after its restart
        await until_together(n1, n2, n3)
        await kill(n3)
        await kill(n1)
        async with durable(tmp_path, "n3", join=(NOBODY,)) as back:
            await until_seen(back, "n2", MemberState.ALIVE)
            await n2.put("late", b"1")
            await until_value(back, "late", b"1")


async def test_a_million_entries_would_be_read_in_batches_and_progress_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with durable(tmp_path) as node:
        await asyncio.gather(*(node.put(f"key-{number}", b"v") for number in range(5000)))
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("kvgossip.runtime.disk.data_dir.PROGRESS_S", 0.0)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    async with durable(tmp_path) as back:
        assert len(back.list(limit=9999)) == 5000
    counter.cancel()
    await asyncio.gather(counter, return_exceptions=True)
    assert turns >= 3
    told = [record.getMessage() for record in caplog.records]
    assert any("read 2,000 of about 5,0" in text for text in told)
    assert any("read 5,000 entries from" in text for text in told)


# -- group commit --------------------------------------------------------------------------------


async def test_writes_of_one_moment_share_a_commit_and_each_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    async with durable(tmp_path) as node:
        disk.commits.clear()
        await asyncio.gather(*(node.put(f"key-{number}", b"v") for number in range(100)))
        assert len(disk.commits) == 1
        assert {key for key in disk.commits[0] if key[:1] == b"e"} == {
            f"ekey-{number}".encode() for number in range(100)
        }
        assert b"freplica/clock" in disk.commits[0]


async def test_turns_that_bring_more_writes_share_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    disk.quick(monkeypatch)
    async with durable(tmp_path) as node:
        disk.commits.clear()
        written = []
        for turn in range(commits_module.GATHER_TURNS_MAX):
            written.append(node.begin_put(f"key-{turn}", b"1"))
            await asyncio.sleep(0)
            assert disk.commits == []
        for each in written:
            assert each.durable is not None
            await each.durable
        assert [sum(key[:1] == b"e" for key in batch) for batch in disk.commits] == [len(written)]


async def test_a_stream_of_writes_does_not_put_their_commit_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    disk.quick(monkeypatch)
    async with durable(tmp_path) as node:
        disk.commits.clear()
        first = node.begin_put("first", b"1").durable
        assert first is not None
        for turn in range(commits_module.GATHER_TURNS_MAX + 1):
            assert not first.done()
            node.begin_put(f"key-{turn}", b"1")
            await asyncio.sleep(0)
        assert first.done()


async def test_a_slow_disk_holds_neither_the_loop_nor_rumors_and_nothing_is_acknowledged_before_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    async with durable(tmp_path, "n1") as n1, Node(configured("n2", n1)) as n2:
        await n2.wait_settled(TIMEOUT_S)
        disk.slow(monkeypatch)
        disk.gate.clear()
        write = asyncio.create_task(n1.put("key", b"1"))
        try:
            await until_value(n2, "key", b"1")
            assert n1.get("key") == b"1"
            assert not write.done()
        finally:
            disk.gate.set()
        assert (await write).value == b"1"


async def test_what_gathers_while_the_disk_works_is_the_next_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    async with durable(tmp_path) as node:
        disk.slow(monkeypatch)
        disk.gate.clear()
        disk.commits.clear()
        begun = disk.begun
        first = asyncio.create_task(node.put("first", b"1"))
        await until(lambda: disk.begun > begun)
        others = [asyncio.create_task(node.put(f"other-{number}", b"1")) for number in range(10)]
        await until(lambda: node.get("other-9") == b"1")
        disk.gate.set()
        await asyncio.gather(first, *others)
        assert [sum(key[:1] == b"e" for key in batch) for batch in disk.commits] == [1, 10]


async def test_what_nobody_waits_for_waits_for_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    monkeypatch.setattr(commits_module, "LINGER_S", 1000.0)
    async with durable(tmp_path) as node:
        disk.commits.clear()
        driver = node._running
        driver.do([Persist(b"test/x", b"1")], Now(0.0, 0))
        await asyncio.sleep(0)
        assert disk.commits == []
        await node.put("key", b"1")
        (batch,) = disk.commits
        assert {b"ftest/x", b"ekey"} <= batch.keys()


async def test_a_writer_that_is_too_fast_for_the_disk_waits_before_its_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    monkeypatch.setattr(commits_module, "WAITING_BYTES_MAX", 1000)
    async with durable(tmp_path) as node:
        disk.slow(monkeypatch)
        disk.gate.clear()
        begun = disk.begun
        writes = [asyncio.create_task(node.put("key-0", bytes(700)))]
        await until(lambda: disk.begun > begun)
        for number in range(1, 4):
            writes.append(asyncio.create_task(node.put(f"key-{number}", bytes(700))))
            await asyncio.sleep(0)
        # one is with the disk, two gathered before they were more than is let wait
        assert [node.get(f"key-{number}") is not None for number in range(4)] == [
            True,
            True,
            True,
            False,
        ]
        disk.gate.set()
        await asyncio.gather(*writes)


async def test_a_writer_that_is_cancelled_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    async with durable(tmp_path) as node:
        disk.slow(monkeypatch)
        disk.gate.clear()
        one, other = (asyncio.create_task(node.put(key, b"1")) for key in ("one", "other"))
        await until(lambda: node.get("other") is not None)
        one.cancel()
        disk.gate.set()
        assert (await other).key == "other"
        await asyncio.gather(one, return_exceptions=True)


async def test_what_waits_is_committed_when_the_node_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    async with durable(tmp_path) as node:
        disk.slow(monkeypatch)
        disk.gate.clear()
        write = asyncio.create_task(node.put("key", b"1"))
        await until(lambda: node.get("key") is not None)
        stopping = asyncio.create_task(kill(node))
        await asyncio.sleep(0)
        assert not stopping.done()
        disk.gate.set()
        await stopping
    await write
    async with durable(tmp_path) as back:
        assert back.get("key") == b"1"


async def test_effects_that_are_no_writes_are_kept_and_removed(tmp_path: Path) -> None:
    async with durable(tmp_path) as node:
        entry = await node.put("old", b"1")
        record = node.record("old") or b""
        driver = node._running
        driver.do([Persist(b"test/x", b"1"), Persist(b"test/y", b"2")], Now(0.0, 0))
        driver.do(
            [Persist(b"test/y", None), Quarantined("old", record, "n2"), Dropped("old", record)],
            Now(0.0, 0),
        )
        await driver.commits.durable()  # type: ignore[union-attr]
        (kept,) = driver.quarantine.page()
        assert (kept.entry, kept.peer) == (entry, "n2")
        folder = crashed(tmp_path)
    disk = await DataDir.take(configured(data_dir=str(folder / "n1")), rebuild=False)
    await disk.open(configured(data_dir=str(folder / "n1")))
    assert {
        key: value for key, value in (disk.facts or {}).items() if key.startswith(b"test/")
    } == {b"test/x": b"1"}
    assert [batch for batch in disk.storage.entries() if batch] == []
    assert disk.quarantine.page() == [kept]
    await disk.close()


# -- faults --------------------------------------------------------------------------------------


async def test_a_full_disk_refuses_writes_answers_reads_and_recovers(tmp_path: Path) -> None:
    value = random.Random(1).randbytes(100_000)
    with small_disk(tmp_path / "disk", 4 * 2**20) as small:
        async with durable(small) as node:
            await node.put("kept", b"1")

            async def fill_up() -> None:
                for number in range(1000):
                    await node.put(f"key-{number}", value)

            with pytest.raises(DiskFullError, match="not on the disk"):
                await fill_up()
            assert node.status()["storage"]["degraded"] is True
            assert "the disk is full" in node.status()["storage"]["fault"]
            root = node.status()["root"]
            with pytest.raises(DiskFullError):
                await node.put("more", value)
            assert node.get("more") is None
            assert node.status()["root"] == root
            assert node.get("kept") == b"1"
            remount(small, "size=64m")
            await until(lambda: node.status()["storage"]["degraded"] is False)
            await node.put("more", value)
            keys = {entry.key for entry in node.list()}
        async with durable(small) as back:
            assert {entry.key for entry in back.list()} == keys


async def test_what_peers_send_while_the_disk_fails_is_in_memory_and_on_the_disk_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    async with Node(configured("n1")) as n1, durable(tmp_path, "n2", n1) as n2:
        await n2.wait_settled(TIMEOUT_S)
        disk.fault = StorageError("the disk fails: told by a test")
        await n1.put("key", b"1")
        await until_value(n2, "key", b"1")
        await until(lambda: n2.status()["storage"]["degraded"])
        with pytest.raises(StorageError, match="told by a test"):
            await n2.put("own", b"1")
        assert n2.get("own") is None
        disk.fault = None
        await until(lambda: not n2.status()["storage"]["degraded"])
        await n2.put("own", b"2")
    async with durable(tmp_path, "n2", join=(NOBODY,)) as back:
        assert (back.get("key"), back.get("own")) == (b"1", b"2")


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of an answer, on a connection that stays."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")
    )
    return head, await reader.readexactly(length)


async def test_a_write_on_a_full_disk_is_answered_with_507_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(monkeypatch)
    async with durable(tmp_path) as node:
        server = ApiServer(node, listen(Address("127.0.0.1", 0)))
        await server.start()
        disk.fault = DiskFullError("the disk is full: told by a test")
        reader, writer = await asyncio.open_connection(*server.address)
        for body in (b"merged, but not kept", b"refused at once"):
            writer.write(
                b"PUT /kv/key HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            head, text = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 507 Insufficient Storage\r\n")
            assert b"the disk is full" in text
        writer.write(b"GET /kv/key HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"merged, but not kept")
        writer.close()
        disk.fault = None
        await server.stop()


async def test_a_damaged_directory_is_refused_and_rebuilt_from_peers(tmp_path: Path) -> None:
    async with durable(tmp_path, "n1") as n1:
        for number in range(500):
            await n1.put(f"key-{number}", random.Random(number).randbytes(50))
        async with durable(tmp_path, "n2", n1) as n2:
            await n2.wait_settled(TIMEOUT_S)
        async with durable(tmp_path, "n2", n1) as n2:
            root = n2.status()["root"]
        flip_a_byte(newest(tmp_path / "n2" / "db", "*.sst"))
        with pytest.raises(DataDirError, match=r"damaged|cannot be opened") as caught:
            await durable(tmp_path, "n2", n1).start()
        assert "--rebuild" in caught.value.hint
        rebuilt = Node(configured("n2", n1, data_dir=str(tmp_path / "n2")), rebuild=True)
        async with rebuilt:
            await rebuilt.wait_settled(TIMEOUT_S)
            assert rebuilt.status()["root"] == root
        assert list((tmp_path / "n2").glob("damaged-*/db/*.sst"))
        # only the first start throws away
        async with rebuilt:
            assert rebuilt.status()["root"] == root
        assert len(list((tmp_path / "n2").glob("damaged-*"))) == 1


async def test_a_rebuild_whose_start_fails_is_a_rebuild_when_it_is_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with durable(tmp_path, "n1") as n1:
        await n1.put("a", b"1")
        async with durable(tmp_path, "n2", n1) as n2:
            await n2.wait_settled(TIMEOUT_S)
        async with Node(configured("n3", n1)) as n3:
            taken = {"data_dir": str(tmp_path / "n2"), "gossip": n3.address}
            rebuilt = Node(configured("n2", n1, **taken), rebuild=True)
            with pytest.raises(ConfigError, match=str(n3.address.port)):
                await rebuilt.start()
            with pytest.raises(LocalError, match="does not run"):
                rebuilt.get("a")
        async with rebuilt:
            await rebuilt.wait_settled(TIMEOUT_S)
            assert rebuilt.get("a") == b"1"
        assert len(list((tmp_path / "n2").glob("damaged-*"))) == 1
    rebuilding = [text for text in caplog.messages if text.startswith("rebuilding from peers")]
    assert len(rebuilding) == 2


async def test_a_rebuild_needs_a_directory_and_somebody_to_fetch_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="joins nobody"):
        await Node(configured("n1", data_dir=str(tmp_path / "n1")), rebuild=True).start()
    with pytest.raises(ConfigError, match="this node has none"):
        await Node(configured("n1", join=(NOBODY,)), rebuild=True).start()
    assert not (tmp_path / "n1").exists()


async def test_a_start_that_fails_lets_the_directory_go(tmp_path: Path) -> None:
    async with durable(tmp_path, "n1") as n1:
        with pytest.raises(DataDirError, match="in use by the process"):
            await durable(tmp_path, "n1").start()
        with pytest.raises(ConfigError, match=str(n1.address.port)):
            await Node(configured("n2", data_dir=str(tmp_path / "n2"), gossip=n1.address)).start()
    (
        await DataDir.take(configured("n2", data_dir=str(tmp_path / "n2")), rebuild=False)
    ).storage.close()
    async with durable(tmp_path, "n1"):
        pass


async def test_a_node_without_a_data_directory_says_so() -> None:
    async with Node(configured("n1")) as node:
        assert node.status()["memory_only"] is True
        assert node.status()["storage"] is None
