"""What clients want to know about their writes: on real nodes, over HTTP and embedded."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kvgossip import Node
from kvgossip.errors import (
    CannotMeetError,
    LocalError,
    NotSettledError,
    OverloadedError,
    StaleError,
)
from kvgossip.protocol.model.entry import Version, parse_version
from kvgossip.runtime.changes.history import History
from kvgossip.runtime.pending.version_waits import VersionWaits
from kvgossip.runtime.pending.write_acks import WriteAck
from tests.api.serving import NOBODY, Serve, Served, serving
from tests.protocol.net import record
from tests.runtime.test_node import (
    FAST,
    TIMEOUT_S,
    cluster,
    configured,
    until,
    until_together,
    until_value,
)

LATER = "ffffffffffffffff-0000000000000001"


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving() as start:
        yield start


@asynccontextmanager
async def two(**settings: Any) -> AsyncIterator[tuple[Served, Served]]:
    """Two settled nodes that know each other, with their servers."""
    settings = {**{name: value for name, value in FAST.items() if name != "gossip"}, **settings}
    async with serving() as start:
        one = await start("n1", **settings)
        other = await start("n2", join=(str(one.node.address),), **settings)
        await until_together(one.node, other.node)
        yield one, other


# -- writes that wait ----------------------------------------------------------------------------


async def test_a_write_that_waits_for_all_is_answered_when_all_hold_it_and_says_who() -> None:
    async with cluster(4) as nodes:
        shown: list[WriteAck] = []
        held = await nodes[1].put_and_wait(
            "a", "1", "all", timeout_s=TIMEOUT_S, on_ack=shown.append
        )
        assert held.met
        assert held.entry == nodes[1].entry("a")
        assert sorted(holder.name for holder in held.held_by) == ["n1", "n2", "n3", "n4"]
        assert tuple(shown) == held.held_by
        assert held.held_by[0].name == "n2"
        assert held.lacking == ()
        assert all(node.get("a") == b"1" for node in nodes)
        gone = await nodes[2].delete_and_wait("a", "majority", timeout_s=TIMEOUT_S)
        assert gone is not None
        assert (gone.met, gone.entry.deleted, len(gone.held_by)) == (True, True, 3)
        assert await nodes[2].delete_and_wait("a", "all") is None


async def test_a_write_that_cannot_be_waited_for_is_not_made() -> None:
    async with Node(configured()) as node:
        for wait, error in (
            ("2", CannotMeetError),
            ("other-zone:1", CannotMeetError),
            ("few", LocalError),
        ):
            with pytest.raises(error):
                await node.put_and_wait("a", "1", wait)
        with pytest.raises(LocalError, match="timeout_s"):
            await node.put_and_wait("a", "1", "all", timeout_s=1e6)
        assert node.get("a") is None
        assert (await node.put_and_wait("a", "1", "all")).met


async def test_a_durable_write_waits_for_the_disk_and_for_its_peers(tmp_path: Any) -> None:
    async with (
        cluster(2) as nodes,
        Node(configured("disk", nodes[0], data_dir=str(tmp_path))) as node,
    ):
        await until_together(*nodes, node)
        held = await node.put_and_wait("a", "1", "3", timeout_s=TIMEOUT_S)
        assert sorted(holder.name for holder in held.held_by) == ["disk", "n1", "n2"]


async def test_put_and_delete_take_wait_over_http() -> None:
    async with two() as (one, other):
        put = await one.call("PUT", "/kv/a%20b?wait=all&timeout=30s", b"1")
        assert put.status == 200
        assert {**put.json, "held_by": sorted(each["name"] for each in put.json["held_by"])} == {
            "key": "a b",
            "version": put.headers["kv-version"],
            "wait": "all",
            "met": True,
            "among": "the members of datacenter dc1",
            "held_by": ["n1", "n2"],
            "lacking": [],
        }
        assert all(each["ms"] >= 0 and each["pool"] == "lan" for each in put.json["held_by"])
        assert other.node.get("a b") == b"1"
        deleted = await other.call("DELETE", "/kv/a%20b?wait=2&timeout=30s")
        assert (deleted.status, deleted.json["deleted"], deleted.json["met"]) == (200, True, True)
        assert (await other.call("DELETE", "/kv/a%20b?wait=2")).status == 404


async def test_out_of_time_a_write_is_accepted_and_names_who_lacks_it() -> None:
    async with two() as (one, other):
        other.node.block("n1")
        put = await one.call("PUT", "/kv/a?wait=all&timeout=100ms", b"1")
        assert put.status == 202
        assert put.json["met"] is False
        assert [each["name"] for each in put.json["held_by"]] == ["n1"]
        assert [each["name"] for each in put.json["lacking"]] == ["n2"]
        assert "the write stands" in put.json["hint"]
        assert one.node.get("a") == b"1"


async def test_a_write_that_waits_may_tell_each_holder_as_a_line() -> None:
    async with two() as (one, _):
        reader, writer = await one.connect()
        writer.write(
            b"PUT /kv/a?wait=all&timeout=30s HTTP/1.1\r\nHost: n\r\nAccept: "
            b"application/x-ndjson\r\nContent-Length: 1\r\n\r\n1"
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 200")
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        lines = [json.loads(line) for line in body.splitlines()]
        assert sorted(line["held_by"]["name"] for line in lines[:-1]) == ["n1", "n2"]
        assert (lines[-1]["met"], lines[-1]["key"]) == (True, "a")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("wait=3", 409),
        ("wait=other-zone:1", 409),
        ("wait=0", 400),
        ("wait=most", 400),
        ("wait=", 400),
        ("wait=all&timeout=5", 200),
        ("wait=all&timeout=soon", 400),
        ("wait=all&timeout=-1s", 400),
        ("wait=all&timeout=2d", 400),
        ("wait=all&timeout=1e9s", 400),
        ("wait=all&timeout=99999h", 400),
        ("wait=all&wait=all", 400),
        ("timeout=5s", 400),
        ("sync=1", 400),
    ],
)
async def test_a_bad_wait_is_refused_with_what_to_change_and_nothing_is_written(
    serve: Serve, query: str, status: int
) -> None:
    served = await serve()
    for method, body in (("PUT", b"1"), ("DELETE", None)):
        if status != 200:
            reply = await served.call(method, f"/kv/a?{query}", body)
            assert reply.status == status
            assert reply.json["hint"]
            assert served.node.get("a") is None
    assert status != 200 or (await served.call("PUT", f"/kv/a?{query}", b"1")).status == 200


async def test_a_condition_that_fails_waits_for_nobody_and_one_that_holds_does() -> None:
    async with two() as (one, _):
        failed = await one.call("PUT", "/kv/a?wait=all&timeout=30s", b"1", If_Match='"*never*"')
        assert failed.status == 412
        first = await one.call("PUT", "/kv/a?wait=all&timeout=30s", b"1", If_None_Match="*")
        assert (first.status, first.headers["kv-condition-scope"]) == (200, "node")


async def test_a_client_that_goes_away_leaves_no_wait_behind() -> None:
    async with two() as (one, other):
        other.node.block("n1")
        await one.node.put("b", "1")
        connections = [await one.connect() for _ in range(2)]
        connections[0][1].write(
            b"PUT /kv/a?wait=all&timeout=10m HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\n\r\n1"
        )
        connections[1][1].write(
            f"GET /kv/b?at_least={LATER}&timeout=10m HTTP/1.1\r\nHost: n\r\n\r\n".encode()
        )
        driver = one.node._running
        await until(lambda: len(driver.replica.acks) == len(driver.publisher.version_waits) == 1)
        for _, writer in connections:
            writer.close()
            await writer.wait_closed()
        await until(lambda: len(driver.replica.acks) == len(driver.publisher.version_waits) == 0)


async def test_waits_end_with_an_error_when_the_node_stops() -> None:
    async with cluster(2) as nodes:
        nodes[1].block("n1")
        waits = [
            asyncio.create_task(nodes[0].put_and_wait("a", "1", "all", timeout_s=60)),
            asyncio.create_task(nodes[0].wait_for("b", Version(2**63, 1), 60)),
        ]
        await asyncio.sleep(0)
        await nodes[0].stop(leave=False)
        for wait in waits:
            with pytest.raises(LocalError, match="the node stopped"):
                await wait


# -- reads that wait -----------------------------------------------------------------------------


async def test_a_read_waits_until_what_was_written_elsewhere_is_here() -> None:
    async with cluster(2) as (one, other):
        version = parse_version(str((await one.put("x", "0")).version))
        reading = asyncio.create_task(other.wait_for("x", version, TIMEOUT_S))
        assert (await reading).value == b"0"
        for number in range(50):
            written = await one.put("a", str(number))
            assert (
                await other.wait_for("a", written.version, TIMEOUT_S)
            ).version >= written.version


async def test_a_newer_version_counts_and_a_delete_tells_its_version() -> None:
    # the certificate is not to be collected meanwhile
    async with two(rumor_settling_s=60.0) as (one, other):
        first = await one.node.put("a", "1")
        second = await one.node.put("a", "2")
        got = await other.call("GET", f"/kv/a?at_least={first.version}&timeout=30s")
        assert (got.status, got.body) in ((200, b"2"), (200, b"1"))
        got = await other.call("GET", f"/kv/a?at_least={second.version}&timeout=30s")
        assert (got.status, got.body, got.headers["kv-version"]) == (200, b"2", str(second.version))
        tombstone = await one.node.delete("a")
        assert tombstone is not None
        gone = await other.call("GET", f"/kv/a?at_least={tombstone.version}&timeout=30s")
        assert (gone.status, gone.headers["kv-version"]) == (404, str(tombstone.version))
        assert (
            await other.call("GET", f"/kv/a?at_least={first.version}&timeout=30s")
        ).status == 404
        assert (await other.call("GET", "/kv/a")).headers["kv-version"] == str(tombstone.version)


async def test_what_does_not_come_in_time_is_504_with_the_version_that_is_here(
    serve: Serve,
) -> None:
    served = await serve()
    late = await served.call("GET", f"/kv/a?at_least={LATER}&timeout=10ms")
    assert (late.status, "kv-version" in late.headers) == (504, False)
    written = await served.node.put("a", "1")
    late = await served.call("GET", f"/kv/a?at_least={LATER}&timeout=10ms")
    assert (late.status, late.headers["kv-version"]) == (504, str(written.version))
    assert late.json["hint"]
    now = await served.call("GET", f"/kv/a?at_least={written.version}&timeout=0s")
    assert (now.status, now.body) == (200, b"1")


@pytest.mark.parametrize(
    "query",
    [
        "at_least=1",
        "at_least=",
        f"at_least={LATER}&timeout=x",
        "timeout=1s",
        f"at_least={LATER.upper()}",
        "at=1",
    ],
)
async def test_a_bad_at_least_is_400(serve: Serve, query: str) -> None:
    reply = await (await serve()).call("GET", f"/kv/a?{query}")
    assert reply.status == 400
    assert reply.json["hint"]


async def test_a_node_that_has_not_settled_says_so_when_the_time_is_up(serve: Serve) -> None:
    served = await serve(join=(NOBODY,))
    reply = await served.call("GET", f"/kv/a?at_least={LATER}&timeout=10ms")
    assert reply.status == 503
    with pytest.raises(NotSettledError):
        await served.node.wait_for("a", Version(1, 1), 0.01)


async def test_so_many_read_and_no_more() -> None:
    waiting = VersionWaits(waiters_max=2)
    tasks = [asyncio.create_task(waiting.wait(f"k{number}", Version(1, 1))) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await waiting.wait("k", Version(1, 1))
    tasks[0].cancel()
    await asyncio.gather(*tasks[:1], return_exceptions=True)
    assert len(waiting) == 1
    waiting.close()
    with pytest.raises(LocalError):
        await tasks[1]
    assert not waiting


async def test_wait_for_raises_stale_with_what_is_here() -> None:
    async with Node(configured()) as node:
        entry = await node.put("a", "1")
        with pytest.raises(StaleError) as late:
            await node.wait_for("a", Version(2**64 - 1, 1), 0.01)
        assert late.value.version == str(entry.version)


# -- history -------------------------------------------------------------------------------------


async def test_the_history_of_a_key_says_what_it_was_when_and_by_whom() -> None:
    async with two() as (one, other):
        first = await one.node.put("a", "1", content_type="text/plain")
        await until_value(other.node, "a", b"1")
        second = await other.node.put("a", "22")
        await until_value(one.node, "a", b"22")
        third = await one.node.delete("a")
        assert third is not None
        document = (await one.call("GET", "/history/a")).json
        shown = [
            (each["version"], each["by"], each["deleted"], each["bytes"], each["present"])
            for each in document["versions"]
        ]
        assert shown == [
            (str(third.version), "n1", True, 0, True),
            (str(second.version), "n2", False, 2, False),
            (str(first.version), "n1", False, 1, False),
        ]
        assert all(each["written_ms"] > 1_600_000_000_000 for each in document["versions"])
        value = await one.call("GET", f"/history/a?version={first.version}")
        assert (value.status, value.body, value.headers["content-type"]) == (
            200,
            b"1",
            "text/plain",
        )
        assert (await one.call("GET", f"/history/a?version={third.version}")).json[
            "deleted"
        ] is True
        assert (await one.call("GET", f"/history/a?version={LATER}")).status == 404
        assert (await one.call("GET", "/history/b")).status == 404
        assert (await one.call("GET", "/history/a?version=x")).status == 400
        assert (await one.call("GET", "/history/../x")).status == 400
        assert (await one.call("PUT", "/history/a", b"1")).status == 405


async def test_a_node_that_keeps_no_history_says_so(serve: Serve) -> None:
    served = await serve(history_versions=0)
    reply = await served.call("GET", "/history/a")
    assert (reply.status, "history_versions" in reply.json["hint"]) == (404, True)


def test_history_takes_no_more_memory_than_it_says() -> None:
    for versions in (1, 2, 7):
        tracemalloc.start()
        try:
            history = History(8, 2**20)
            for number in range(6000):
                for version in range(versions):
                    history.keep(f"key-{number}", record(b"x" * 20, version))
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert 2**19 < taken < history.kept_bytes < 2**20


def test_history_is_bounded_in_versions_and_in_bytes_and_the_longest_unchanged_goes_first() -> None:
    history = History(3, 1000)
    for ms in range(6):
        history.keep("a", record(b"v", ms))
    assert history.earlier("a") == [record(b"v", 4), record(b"v", 5)]
    for number in range(40):
        history.keep(f"k{number}", record(b"x" * 50))
        assert history.kept_bytes <= 1000
    assert history.earlier("a") == []
    assert history.earlier("k39") == [record(b"x" * 50)]
    history.keep("huge", bytes(2000))
    assert history.kept_bytes == 0
    none = History(0, 1000)
    none.keep("a", record(b"v"))
    assert (none.earlier("a"), none.kept_bytes) == ([], 0)


# -- who is equal --------------------------------------------------------------------------------


async def test_equal_nodes_are_reported_equal_and_others_by_how_many_keys_they_differ() -> None:
    async with two() as (one, other):
        await one.node.put_and_wait("a", "1", "all", timeout_s=TIMEOUT_S)
        # a probe between the two writes has shown them unequal
        await until(
            lambda: one.node._running.replica.pools.lan.exchanges.unequal_since_s("n2") is None
        )
        document = (await one.call("GET", "/converge?timeout=30s")).json
        assert (document["equal"], document["root"]) == (True, f"{one.node.root:016x}")
        (member,) = document["members"]
        assert (
            member["name"],
            member["state"],
            member["equal"],
            member["keys"],
            member["precision"],
        ) == ("n2", "alive", True, 0, "exact")
        assert member["unequal_s"] is None

        other.node.block("n1")
        await one.node.put("b", "1")
        other.node.unblock("n1")
        comparison = (await one.node.converge(TIMEOUT_S))[0]
        assert comparison.equal or comparison.keys == 1
        await until(lambda: other.node.get("b") == b"1")
        assert (await other.node.converge(TIMEOUT_S))[0].equal


async def test_who_does_not_answer_is_not_equal() -> None:
    async with two() as (one, other):
        other.node.block("n1")
        document = (await one.call("GET", "/converge?timeout=10ms")).json
        assert document["equal"] is False
        (member,) = document["members"]
        assert (member["answered"], member["equal"], member["keys"], member["root"]) == (
            False,
            False,
            None,
            None,
        )
        assert (await one.call("GET", "/converge?timeout=soon")).status == 400


async def test_a_lone_node_is_equal_to_nobody_else(serve: Serve) -> None:
    assert (await (await serve()).call("GET", "/converge")).json["members"] == []
