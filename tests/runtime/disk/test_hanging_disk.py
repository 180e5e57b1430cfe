"""A disk that hangs: the loop does not wait for it, writes are refused after a while, and all is
said; when it answers, all goes on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvgossip.api.listening import listen
from kvgossip.api.server import ApiServer
from kvgossip.config import Address
from kvgossip.errors import DataDirError, DiskHangsError
from kvgossip.runtime.disk import group_commit as commits_module
from kvgossip.runtime.disk.rocksdb import RocksDB
from kvgossip.runtime.node import Node
from tests.api.serving import NOBODY
from tests.runtime.disk.test_durability import BadDisk, durable, kill, read_answer
from tests.runtime.test_node import TIMEOUT_S, configured, until, until_value

SOON_S = 0.1


@pytest.fixture
async def disk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BadDisk]:
    """Answers in the end, whatever the test has found."""
    bad = BadDisk(monkeypatch)
    yield bad
    bad.gate.set()


@contextmanager
def impatient(node: Node) -> Iterator[None]:
    """Meanwhile the node calls a disk hanging that has not answered for SOON_S; else, as this
    machine may be busy, only after TIMEOUT_S."""
    commits = node._running.commits
    assert commits is not None
    commits._timeout_s = SOON_S
    yield
    commits._timeout_s = TIMEOUT_S


async def hung(node: Node, disk: BadDisk) -> None:
    """A write finds that the disk hangs."""
    disk.gate.clear()
    refusal = r"not on the disk: the disk hangs: .* for 0\.1 s"
    with impatient(node), pytest.raises(DiskHangsError, match=refusal):
        await node.put("waits", b"1")


async def test_a_write_that_a_disk_holds_is_refused_after_a_while_and_so_are_those_after_it(
    tmp_path: Path, disk: BadDisk, caplog: pytest.LogCaptureFixture
) -> None:
    async with durable(tmp_path, disk_timeout_s=TIMEOUT_S) as node:
        await hung(node, disk)
        with pytest.raises(DiskHangsError, match="the disk hangs"):
            await node.put("refused", b"1")
        assert node.get("refused") is None
        storage = node.status()["storage"]
        assert storage["degraded"] is True
        assert "the disk hangs" in storage["fault"]
        assert storage["commit_age_s"] > 0
        assert "the disk hangs" in str(node.status()["overload"])
        disk.gate.set()
        await until(lambda: not node.status()["storage"]["degraded"])
        await node.put("again", b"1")
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text.partition(": ")[2].partition(";")[0] for text in told] == [
        "the disk hangs: it has not answered for 0.1 s",
        "the disk takes writes again",
    ]
    async with durable(tmp_path, disk_timeout_s=TIMEOUT_S) as back:
        assert [back.get(key) for key in ("waits", "refused", "again")] == [b"1", None, b"1"]


async def test_lesson_17_while_a_disk_hangs_reads_are_answered_and_peers_are_heard(
    tmp_path: Path, disk: BadDisk
) -> None:
    async with (
        Node(configured("n1")) as n1,
        durable(tmp_path, "n2", n1, disk_timeout_s=TIMEOUT_S) as n2,
    ):
        await n2.wait_settled(TIMEOUT_S)
        await hung(n2, disk)
        await n1.put("key", b"1")
        await until_value(n2, "key", b"1")
        disk.gate.set()
        await until(lambda: not n2.status()["storage"]["degraded"])
    async with durable(tmp_path, "n2", join=(NOBODY,)) as back:
        assert back.get("key") == b"1"


async def test_nobody_waits_for_a_disk_that_is_known_to_hang(tmp_path: Path, disk: BadDisk) -> None:
    async with durable(tmp_path, disk_timeout_s=TIMEOUT_S) as node:
        await hung(node, disk)
        waits = node.kept()
        assert waits is not None
        assert waits.done()
        assert isinstance(waits.exception(), DiskHangsError)
        disk.gate.set()


async def test_the_doctor_names_a_disk_that_hangs_until_it_answers(
    tmp_path: Path, disk: BadDisk
) -> None:
    async with durable(tmp_path, disk_timeout_s=TIMEOUT_S) as node:
        assert (await node.doctor())["healthy"]
        await hung(node, disk)
        (finding,) = (await node.doctor())["findings"]
        assert finding["code"] == "disk"
        assert finding["members"] == ("n1",)
        assert "the data directory of n1: the disk hangs" in finding["text"]
        disk.gate.set()
        await until(lambda: not node.status()["storage"]["degraded"])
        assert (await node.doctor())["healthy"]


async def test_a_write_on_a_disk_that_hangs_is_answered_with_503_and_a_read_as_ever(
    tmp_path: Path, disk: BadDisk
) -> None:
    async with durable(tmp_path, disk_timeout_s=TIMEOUT_S) as node:
        server = ApiServer(node, listen(Address("127.0.0.1", 0)))
        await server.start()
        disk.gate.clear()
        reader, writer = await asyncio.open_connection(*server.address)
        for _ in ("held until then", "refused at once"):
            writer.write(b"PUT /kv/key HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\n\r\n1")
            with impatient(node):
                head, text = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"Retry-After: 1\r\n" in head
            assert b"the disk hangs" in text
        writer.write(b"GET /kv/key HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\n1")
        writer.close()
        disk.gate.set()
        await server.stop()


async def test_a_node_stops_though_its_disk_hangs_and_lets_it_go_when_it_answers(
    tmp_path: Path, disk: BadDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()
    real = RocksDB.close

    def close(storage: RocksDB) -> None:
        disk.gate.wait(TIMEOUT_S)
        real(storage)
        closed.set()

    monkeypatch.setattr(RocksDB, "close", close)
    async with durable(tmp_path, disk_timeout_s=TIMEOUT_S) as node:
        await hung(node, disk)
        assert node._life is not None
        assert node._life.disk is not None
        node._life.disk._timeout_s = SOON_S
        await kill(node)
        assert not closed.is_set()
        disk.gate.set()
        assert await asyncio.to_thread(closed.wait, TIMEOUT_S)
    async with durable(tmp_path) as back:
        # nobody was told that it is kept: the disk had let go of it, or of the directory, first
        assert back.get("waits") in (None, b"1")


async def test_a_disk_that_hangs_at_the_start_is_told(tmp_path: Path, disk: BadDisk) -> None:
    disk.gate.clear()
    with pytest.raises(DataDirError, match=r"cannot be written: .*the disk hangs"):
        await durable(tmp_path, disk_timeout_s=SOON_S).start()
    disk.gate.set()


async def test_the_loop_waits_itself_only_while_the_disk_was_quick(
    tmp_path: Path, disk: BadDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits_module, "PAUSE_S", TIMEOUT_S)

    def inline(node: Node) -> int:
        return int(node.status()["storage"].get("commits_inline", 0))

    async with durable(tmp_path) as node:
        monkeypatch.setattr(commits_module, "INLINE_S_MAX", TIMEOUT_S)
        commits = node._running.commits
        assert commits is not None
        # what the first commit of this machine has taught
        commits._inline_s, commits._pause_s = 0.0, TIMEOUT_S
        before = inline(node)
        await node.put("key", b"quick")
        assert inline(node) == before + 1
        monkeypatch.setattr(commits_module, "INLINE_S_MAX", 0.0)
        disk.gate.clear()
        late = node.begin_put("key", b"late").durable
        assert late is not None
        begun = disk.begun
        await until(lambda: disk.begun > begun)
        disk.gate.set()
        await late
        monkeypatch.setattr(commits_module, "INLINE_S_MAX", TIMEOUT_S)
        await node.put("key", b"so the next one has no turn of the loop")
        assert inline(node) == before + 1
        commits._inline_s = 0.0
        await node.put("key", b"until the pause is over")
        assert inline(node) == before + 2
