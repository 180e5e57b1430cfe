"""Real nodes on loopback: what was put anywhere is got everywhere, and nothing that happens to a
node is a surprise to who runs it."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvloop

from kvgossip.config import Address, Config
from kvgossip.errors import (
    BadKeyError,
    ConfigError,
    JoinRefusedError,
    LocalError,
    NotSettledError,
    ValueTooLargeError,
    WatchLaggedError,
)
from kvgossip.protocol.model.entry import value_in
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.replica import Replica
from kvgossip.runtime.node import Node
from tests.api.serving import NOBODY
from tests.ports import held_port

TIMEOUT_S = 30.0
LOOPBACK = Address("127.0.0.1", 0)
EVERYWHERE = Address("0.0.0.0", 0)
# a name that no resolver knows (RFC 6761)
UNKNOWN = "nobody.invalid:7481"
FAST: dict[str, Any] = {
    "gossip": LOOPBACK,
    "founding_s": 0.0,
    "probe_interval_s": 0.2,
    "probe_timeout_s": 0.1,
    # on a busy machine a node may be late for seconds, and is not to be declared dead for that
    "suspicion_multiplier": 100.0,
    "gossip_interval_s": 0.02,
    "push_pull_interval_s": 0.5,
    "rumor_settling_s": 0.1,
    "join_retry_s": 0.05,
}
# for tests in which a node dies
QUICK_TO_DECLARE_DEAD: dict[str, Any] = {
    "suspicion_multiplier": 2.0,
    "suspicion_max_multiplier": 2.0,
}

GATEWAY: dict[str, Any] = {
    "gateway": True,
    "wan": LOOPBACK,
    "wan_parameters": tuple(
        (name, value) for name, value in FAST.items() if name not in ("gossip", "founding_s")
    ),
}


def configured(name: str = "n1", *friends: Node, **settings: Any) -> Config:
    return Config(
        **{
            **FAST,
            "name": name,
            "join": tuple(str(friend.address) for friend in friends),
            **settings,
        }
    )


@asynccontextmanager
async def cluster(size: int, **settings: Any) -> AsyncIterator[list[Node]]:
    """Nodes n1, n2, ... that have joined n1 and settled."""
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for number in range(1, size + 1):
            nodes.append(
                await stack.enter_async_context(
                    Node(configured(f"n{number}", *nodes[:1], **settings))
                )
            )
        await until_together(*nodes)
        yield nodes


async def until_together(*nodes: Node) -> None:
    """Wait until these nodes have settled and know each other: only then may one of them be asked,
    or killed, or cut off."""
    for node in nodes:
        await node.wait_settled(TIMEOUT_S)
    names = {node.name for node in nodes}
    await until(lambda: all(names <= {member.name for member in node.members()} for node in nodes))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that a node tells only when it is asked."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.002)


async def until_seen(
    by: Node, name: str, state: MemberState, address: Address | None = None
) -> None:
    """Wait until one node believes this of another."""
    await until(
        lambda: any(
            (m.name, m.state, address or m.address) == (name, state, m.address)
            for m in by.members()
        )
    )


async def until_value(on: Node, key: str, value: bytes | None) -> None:
    """Wait until a node answers a read with this value: one that has not settled answers none."""
    await on.wait_settled(TIMEOUT_S)
    await until(lambda: on.get(key) == value)


def statistic(node: Node, name: str) -> int:
    return int(node.status()["statistics"].get(name, 0))


@pytest.fixture(autouse=True)
def nothing_goes_wrong(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No exception reaches the log, whatever a test does to its nodes."""
    caplog.set_level(logging.INFO)
    yield
    assert [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.levelno >= logging.ERROR
    ] == []


@pytest.fixture(autouse=True)
async def no_task_is_left_behind() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


# -- one node ------------------------------------------------------------------------------------


def sees_members(node: Node, counts: dict[str, int]) -> bool:
    return bool(node.status()["members"] == counts)


async def test_a_lone_node_founds_its_cluster_and_answers_at_once() -> None:
    async with Node(configured()) as node:
        assert node.settled
        await node.wait_settled(0)
        entry = await node.put("a", b"1", content_type="text/plain")
        assert (entry.key, entry.value, entry.content_type) == ("a", b"1", "text/plain")
        assert node.get("a") == b"1"
        assert node.entry("a") == entry
        assert value_in(node.record("a") or b"") == b"1"
        assert (await node.put("a", "zwei")).version > entry.version
        assert node.get("a") == b"zwei"
        assert (node.get("b"), node.entry("b"), node.record("b")) == (None, None, None)


async def test_a_delete_returns_its_certificate_and_there_is_nothing_to_delete_twice() -> None:
    async with Node(configured()) as node:
        written = await node.put("a", b"1")
        tombstone = await node.delete("a")
        assert tombstone is not None
        assert tombstone.deleted
        assert tombstone.version > written.version
        assert node.get("a") is None
        assert await node.delete("a") is None
        assert await node.delete("never there") is None


async def test_a_list_is_sorted_and_paged_and_leaves_out_the_deleted() -> None:
    async with Node(configured()) as node:
        for key in ("b/2", "a/3", "a/1", "a/2", "a/0"):
            await node.put(key, b"")
        await node.delete("a/0")
        assert [entry.key for entry in node.list("a/", limit=2)] == ["a/1", "a/2"]
        assert [entry.key for entry in node.list("a/", after="a/2")] == ["a/3"]
        assert [entry.key for entry in node.list()] == ["a/1", "a/2", "a/3", "b/2"]
        assert node.scan("a/", after="a/1", limit=1) == node.list("a/", after="a/1", limit=1)


async def test_a_write_that_is_refused_changes_nothing() -> None:
    async with Node(configured(value_bytes_max=10)) as node:
        watcher = node.watch()
        with pytest.raises(BadKeyError):
            await node.put("../a", b"1")
        with pytest.raises(BadKeyError):
            await node.delete("")
        with pytest.raises(ValueTooLargeError):
            await node.put("a", bytes(11))
        assert node.list() == []
        assert watcher.waiting == 0


async def test_a_write_in_memory_neither_waits_nor_starts_a_task() -> None:
    async with cluster(2) as (node, _):
        tasks = asyncio.all_tasks()
        for step in (node.put("a", b"1"), node.put("a", b"2"), node.delete("a")):
            with pytest.raises(StopIteration):
                step.send(None)
        assert asyncio.all_tasks() == tasks


async def test_the_writes_of_one_turn_share_packets() -> None:
    # neither probes nor exchanges are counted, however long it takes
    async with cluster(
        2, gossip_interval_s=0.5, probe_interval_s=60.0, push_pull_interval_s=60.0
    ) as (one, two):
        watcher = two.watch()
        before = statistic(one, "frames_sent")
        for number in range(100):
            await one.put(f"{number:02}", b"value")
        async with asyncio.timeout(TIMEOUT_S):
            assert [(await anext(watcher)).key for _ in range(100)] == [
                f"{number:02}" for number in range(100)
            ]
        assert statistic(one, "frames_sent") - before < 50


# -- several nodes -------------------------------------------------------------------------------


async def test_what_is_put_on_one_node_is_watched_and_read_on_the_other() -> None:
    async with cluster(2) as (one, two), two.watch("user/") as changes:
        await one.put("group/1", b"other")
        written = await one.put("user/1", b"Ada", content_type="text/plain")
        async with asyncio.timeout(TIMEOUT_S):
            change = await anext(changes)
            assert change == ("user/1", None, written)
            assert two.entry("user/1") == written
            tombstone = await two.delete("user/1")
            own = await anext(changes)
            assert (own.old, own.new) == (written, tombstone)
        await until_value(one, "user/1", None)


@pytest.mark.parametrize("size", [3, 10])
async def test_in_a_cluster_everybody_ends_with_the_same_data(size: int) -> None:
    async with cluster(size) as nodes:
        watchers = [node.watch("k/") for node in nodes]
        for number in range(300):
            await nodes[number % size].put(f"k/{number % 50}", str(number))
        for number in range(10):
            await nodes[number % size].delete(f"k/{number}")
        await until(lambda: len({node.status()["root"] for node in nodes}) == 1)
        for node, watcher in zip(nodes, watchers, strict=True):
            last = {change.key: change.new.value async for change in drained(watcher)}
            assert {entry.key: entry.value for entry in node.list("k/")} == {
                key: value for key, value in last.items() if value is not None
            }
            assert last.keys() == {f"k/{number}" for number in range(50)}


async def drained(watcher: Any) -> AsyncIterator[Any]:
    while watcher.waiting:
        yield await anext(watcher)


async def test_a_value_of_the_largest_size_and_many_of_them_at_once_arrive() -> None:
    rng = random.Random(4)
    values = {f"large/{number}": rng.randbytes(1024 * 1024) for number in range(40)}
    async with cluster(2) as (one, two):
        for key, value in values.items():
            await one.put(key, value)
        await until(lambda: two.status()["root"] == one.status()["root"])
        assert all(two.get(key) == value for key, value in values.items())
        assert one.status()["transport"].get("links_overflowed", 0) == 0


async def test_a_node_killed_and_started_again_under_its_name_with_a_new_port_has_all_data() -> (
    None
):
    async with cluster(3) as (one, two, three):
        for number in range(500):
            await one.put(f"{number}", b"before")
        await until(lambda: three.status()["root"] == one.status()["root"])
        killed = three.address
        await three.stop(leave=False)
        await one.put("meanwhile", b"1")
        # it may settle through either of them
        await until_value(two, "meanwhile", b"1")
        async with Node(configured("n3", one, two)) as again:
            assert again.address != killed
            await again.wait_settled(TIMEOUT_S)
            assert again.get("meanwhile") == b"1"
            assert len(again.list()) == 501
            for other in (one, two):
                await until_seen(other, "n3", MemberState.ALIVE, again.address)


async def test_a_node_that_was_killed_is_dead_to_the_others() -> None:
    async with cluster(3, **QUICK_TO_DECLARE_DEAD) as (one, two, three):
        await three.stop(leave=False)
        for other in (one, two):
            await until_seen(other, "n3", MemberState.DEAD)
            counts = {"alive": 2, "suspect": 0, "dead": 1, "left": 0}
            await until(partial(sees_members, other, counts))


async def test_a_node_that_stops_has_left_and_its_last_write_stays() -> None:
    async with cluster(3) as (one, two, three):
        await three.put("last", b"words")
        await three.stop()
        for other in (one, two):
            await until_seen(other, "n3", MemberState.LEFT)
            await until_value(other, "last", b"words")


async def test_a_node_that_is_leaving_takes_no_writes_but_answers_reads() -> None:
    async with cluster(2) as (one, two):
        await two.put("a", b"1")
        await two.leave()
        assert two.get("a") == b"1"
        with pytest.raises(LocalError, match="leaving"):
            await two.put("a", b"2")
        await two.leave()
        await until_seen(one, "n2", MemberState.LEFT)


async def test_a_node_that_was_stopped_may_be_started_again_as_a_new_life() -> None:
    async with cluster(2) as (one, two):
        await two.put("a", b"1")
        await until_value(one, "a", b"1")
        old_site = two.status()["site"]
        await two.stop()
        await two.start()
        await two.wait_settled(TIMEOUT_S)
        assert two.get("a") == b"1"
        assert two.status()["site"] != old_site
        await until_seen(one, "n2", MemberState.ALIVE)


# -- joining and settling ------------------------------------------------------------------------


async def test_a_node_joins_by_name() -> None:
    async with Node(configured("n1")) as one:
        await one.put("a", b"1")
        async with Node(configured("n2", join=(f"localhost:{one.address.port}",))) as two:
            await two.wait_settled(TIMEOUT_S)
            assert two.get("a") == b"1"


@pytest.mark.parametrize("keyring", [(), ("5e" * 32,)], ids=["unsealed", "sealed"])
async def test_an_operator_merges_two_clusters_of_one_name_and_both_sides_data_is_kept(
    keyring: tuple[str, ...],
) -> None:
    async with (
        Node(configured("n1", keyring=keyring)) as one,
        Node(configured("n2", keyring=keyring)) as two,
    ):
        await one.put("a", b"1")
        await two.put("b", b"2")
        kept, given_up = (node.status()["cluster_id"] for node in (one, two))
        with pytest.raises(JoinRefusedError) as refused:
            await two.join(str(one.address), timeout_s=TIMEOUT_S)
        assert kept in str(refused.value)
        assert given_up in str(refused.value)
        assert f"`kvgossip join {one.address} --merge`" in str(refused.value)
        await two.join(UNKNOWN, NOBODY, str(one.address), merge=True, timeout_s=TIMEOUT_S)
        assert [member.name for member in two.members()] == ["n1", "n2"]
        await until(lambda: one.status()["root"] == two.status()["root"])
        assert one.get("b") == b"2"
        assert two.get("a") == b"1"
        assert {node.status()["cluster_id"] for node in (one, two)} == {kept}


@pytest.mark.parametrize("keyring", [(), ("5e" * 32,)], ids=["unsealed", "sealed"])
async def test_lesson_15_a_join_to_another_cluster_is_refused_with_both_names_and_the_node_keeps_running(
    keyring: tuple[str, ...],
) -> None:
    async with (
        Node(configured("n1", cluster="blue", keyring=keyring)) as one,
        Node(configured("n2", cluster="green", keyring=keyring)) as two,
    ):
        with pytest.raises(JoinRefusedError) as refused:
            await two.join(str(one.address))
        assert "blue" in str(refused.value)
        assert "green" in str(refused.value)
        assert [member.name for member in one.members()] == ["n1"]
        assert [member.name for member in two.members()] == ["n2"]
        assert statistic(one, "frames_dropped.other_cluster") >= 1
        await two.put("a", b"still running")


async def refused(joiner: Node, address: Address | None, *, wan: bool = False) -> str:
    with pytest.raises(JoinRefusedError) as caught:
        await joiner.join(str(address), wan=wan)
    return str(caught.value)


@pytest.mark.parametrize("keyring", [(), ("5e" * 32,)], ids=["unsealed", "sealed"])
async def test_lesson_15_every_mixture_of_pools_is_refused_in_words_on_both_sides_and_counted(
    caplog: pytest.LogCaptureFixture, keyring: tuple[str, ...]
) -> None:
    async with (
        Node(configured("g1", datacenter="paris", keyring=keyring, **GATEWAY)) as g1,
        Node(configured("g2", datacenter="tokyo", keyring=keyring, **GATEWAY)) as g2,
        Node(configured("p1", datacenter="paris", keyring=keyring)) as p1,
        Node(configured("p2", datacenter="tokyo", keyring=keyring)) as p2,
    ):
        another = "belongs to the LAN pool of another datacenter"
        accidents = [
            (p1, p2, p2.address, False, another),
            (p2, p1, p1.address, False, another),
            (p1, g2, g2.wan_address, False, "this is the WAN address of a gateway of 'tokyo'"),
            (g2, p1, p1.address, True, "belongs to the WAN pool, and this node is no gateway"),
            (
                g2,
                g1,
                g1.address,
                True,
                f"this is the LAN address of a gateway; join its WAN address, {g1.wan_address}",
            ),
            (
                p1,
                g1,
                g1.wan_address,
                False,
                f"the WAN address of a gateway there; join its LAN address, {g1.address}",
            ),
        ]
        for joiner, host, address, wan, words in accidents:
            before = statistic(host, "frames_dropped.other_pool")
            for _ in range(2):
                text = await refused(joiner, address, wan=wan)
                assert words in text, "and at once, also the second time"
                assert f"this node is {joiner.name!r}" in text
            assert statistic(host, "frames_dropped.other_pool") >= before + 2
            assert any(
                words in logged and logged.startswith(f"{host.name}: dropped")
                for logged in caplog.messages
            )
        assert all(
            [member.name for member in node.members()] == [node.name] for node in (g1, g2, p1, p2)
        )
        await p1.put("still", b"running")


async def test_two_datacenters_share_their_data_through_gateways() -> None:
    async with (
        Node(configured("g1", datacenter="paris", **GATEWAY)) as g1,
        Node(configured("p1", g1, datacenter="paris")) as p1,
        Node(
            configured("g2", datacenter="tokyo", **GATEWAY, join_wan=(str(g1.wan_address),))
        ) as g2,
        Node(configured("p2", g2, datacenter="tokyo")) as p2,
    ):
        await p2.wait_settled(TIMEOUT_S)
        await until(lambda: len(g1.gateways()) == 2)
        watcher = p2.watch()
        await p1.put("a", b"1")
        async with asyncio.timeout(TIMEOUT_S):
            assert (await anext(watcher)).new.value == b"1"
        await p2.delete("a")
        await until_value(p1, "a", None)
        assert [member.name for member in p1.members()] == ["g1", "p1"]
        assert p1.gateways() == []
        assert [(member.name, member.address) for member in g2.gateways()] == [
            ("g1", g1.wan_address),
            ("g2", g2.wan_address),
        ]
        status = g1.status()
        assert (status["gateway"], p1.status()["gateway"]) == (True, False)
        assert [pool["name"] for pool in status["pools"].values()] == ["lan:paris", "wan"]
        assert [pool["members"]["alive"] for pool in status["pools"].values()] == [2, 2]
        assert status["statistics"]["frames_sent"] == sum(
            pool["statistics"]["frames_sent"] for pool in status["pools"].values()
        )


async def test_a_gateway_whose_wan_address_is_taken_says_so_and_leaves_nothing_open() -> None:
    async with Node(configured("g1", **GATEWAY)) as one:
        other = Node(configured("g2", gateway=True, wan=one.wan_address))
        with pytest.raises(ConfigError, match=str(one.wan_address)):
            await other.start()
        assert other.config.gossip.port != one.config.gossip.port
        with pytest.raises(LocalError):
            other.members()


async def test_a_node_that_is_no_gateway_says_so_when_it_is_to_join_the_wan_pool() -> None:
    async with Node(configured()) as node:
        with pytest.raises(ConfigError, match="no gateway"):
            await node.join("127.0.0.1:7483", wan=True)


async def test_a_name_that_a_live_node_holds_is_refused() -> None:
    async with cluster(2) as (one, two), Node(configured("n2")) as impostor:
        with pytest.raises(JoinRefusedError, match=r"'n2'.* is held by the live node"):
            await impostor.join(str(one.address))
        assert [member.address for member in one.members() if member.name == "n2"] == [two.address]


async def test_a_join_where_nobody_answers_says_whom_it_asked() -> None:
    async with Node(configured()) as node:
        with pytest.raises(JoinRefusedError, match=f"no answer from {NOBODY}"):
            await node.join(NOBODY)


async def test_a_join_to_somebody_who_is_silent_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with Node(configured()) as node:
            with pytest.raises(
                JoinRefusedError, match=f"no answer from 127.0.0.1:{port} within 0.05 s"
            ):
                await node.join(f"127.0.0.1:{port}", timeout_s=0.05)


@pytest.mark.parametrize(
    ("target", "text"), [("a b", "is not an address"), (UNKNOWN, "cannot be resolved")]
)
async def test_a_join_to_what_is_no_address_is_the_operators_fault(target: str, text: str) -> None:
    async with Node(configured()) as node:
        with pytest.raises(ConfigError, match=text) as error:
            await node.join(target)
        assert "HOST:PORT" in error.value.hint


async def test_a_join_to_nobody_is_the_operators_fault() -> None:
    async with Node(configured()) as node:
        with pytest.raises(ConfigError, match="nobody to join"):
            await node.join()


async def test_a_survey_that_the_stop_overtakes_says_so() -> None:
    async with cluster(2) as (one, two):
        two.block("n1")
        surveying = asyncio.ensure_future(one.converge(60.0))
        await asyncio.sleep(0)
        await one.stop(leave=False)
        with pytest.raises(LocalError, match="stopped while it was asking the others"):
            await surveying


async def test_a_join_that_the_stop_overtakes_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Node(configured()) as node:
            joining = asyncio.ensure_future(node.join(f"127.0.0.1:{silent.getsockname()[1]}"))
            await asyncio.sleep(0)
            await node.stop()
        with pytest.raises(LocalError, match="stopped while it was joining"):
            await joining


async def test_lesson_16_a_cold_node_answers_no_read_as_truth_but_takes_writes() -> None:
    async with Node(configured(join=(NOBODY,))) as node:
        assert not node.settled
        await node.put("a", b"1")
        for read in (node.get, node.entry, node.record, node.list):
            with pytest.raises(NotSettledError):
                read("a")
        with pytest.raises(NotSettledError, match=r"within 0\.05 s"):
            await node.wait_settled(0.05)
        waiting = asyncio.ensure_future(node.wait_settled())
        await asyncio.sleep(0)
        node.settle()
        async with asyncio.timeout(TIMEOUT_S):
            await waiting
        assert node.get("a") == b"1"


async def test_lesson_14_a_join_address_that_answers_later_is_joined_then() -> None:
    with held_port() as address:
        async with Node(configured("n2", join=(str(address),))) as late:
            with pytest.raises(NotSettledError):
                await late.wait_settled(0.1)
            async with Node(configured("n1", gossip=address)) as one:
                await one.put("a", b"1")
                await until_value(late, "a", b"1")


async def test_nodes_that_name_each_other_settle_together() -> None:
    with ExitStack() as held:
        addresses = [held.enter_context(held_port()) for _ in range(3)]
        join = tuple(map(str, addresses))
        async with AsyncExitStack() as stack:
            nodes: list[Node] = []
            for number, address in enumerate(addresses):
                nodes.append(
                    await stack.enter_async_context(
                        Node(configured(f"n{number}", join=join, gossip=address))
                    )
                )
            for node in nodes:
                await node.wait_settled(TIMEOUT_S)


# -- watching ------------------------------------------------------------------------------------


async def test_lesson_22_a_slow_watcher_is_cut_off_and_told_and_a_quick_one_is_not() -> None:
    async with Node(configured(watch_events_max=10)) as node:
        slow, quick = node.watch("a"), node.watch("a")
        for number in range(11):
            await node.put("a", str(number))
            assert (await anext(quick)).new.value == str(number).encode()
        with pytest.raises(WatchLaggedError):
            await anext(slow)
        assert node.status()["watchers"] == node.status()["watchers_cut_off"] == 1


async def test_watching_needs_no_settled_node_and_shows_what_it_catches_up_with() -> None:
    async with Node(configured("n1")) as one:
        await one.put("a", b"1")
        async with (
            Node(configured("n2", one)) as two,
            two.watch() as changes,
            asyncio.timeout(TIMEOUT_S),
        ):
            assert (await anext(changes)).new.value == b"1"


async def test_the_watchers_of_a_node_that_stops_get_what_waits_and_end() -> None:
    async with Node(configured()) as node:
        watcher = node.watch()
        await node.put("a", b"1")
    async with asyncio.timeout(TIMEOUT_S):
        assert [change.key async for change in watcher] == ["a"]


# -- hostile bytes -------------------------------------------------------------------------------


async def test_garbage_on_both_ports_is_counted_and_dropped_and_the_node_serves_on() -> None:
    rng = random.Random(5)
    async with cluster(2) as (one, two):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for size in [0, 1, 20, 1400, 60_000, *(rng.randrange(1, 200) for _ in range(50))]:
                stranger.sendto(rng.randbytes(size), one.address)
        for frame in (
            b"GET / HTTP/1.1\r\n\r\n",
            bytes(4),
            b"\0\0\0\x05hello",
            b"\0\0\0\x20kv" + rng.randbytes(30),
        ):
            _, writer = await asyncio.open_connection(*one.address)
            writer.write(frame)
            await writer.drain()
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        await until(lambda: statistic(one, "frames_dropped.bad_magic") >= 56)
        await until(lambda: one.status()["transport"].get("links_refused.bad_length", 0) == 2)
        await one.put("a", b"1")
        await until_value(two, "a", b"1")


# -- starting and stopping -----------------------------------------------------------------------


async def test_a_port_in_use_is_one_clear_error_and_nothing_is_left_open() -> None:
    async with Node(configured("n1")) as one:
        two = Node(configured("n2", gossip=one.address))
        with pytest.raises(ConfigError, match="in use") as error:
            await two.start()
        assert error.value.hint
        await two.stop()
    # and what failed once can be tried again
    await two.start()
    await two.stop()


async def test_a_node_that_does_not_run_says_so() -> None:
    node = Node(configured())
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: node.put("a", b""),
        lambda: node.delete("a"),
        node.wait_settled,
        lambda: node.join("127.0.0.1:1"),
        node.leave,
    ]
    for _ in range(2):
        for call in calls:
            with pytest.raises(LocalError, match="does not run"):
                await call()
        for read in (node.get, node.entry, node.record, node.list, node.watch):
            with pytest.raises(LocalError, match="does not run"):
                read("a")
        for ask in (node.members, node.status, node.settle):
            with pytest.raises(LocalError, match="does not run"):
                ask()
        assert not node.settled
        async with node:
            with pytest.raises(LocalError, match="runs already"):
                await node.start()


async def test_stopping_twice_at_once_or_before_the_start_is_harmless() -> None:
    node = Node(configured())
    await node.stop()
    await node.start()
    await asyncio.gather(node.stop(), node.stop(), node.stop(leave=False))
    await node.stop()


async def test_a_stop_that_is_cancelled_closes_all_the_same() -> None:
    with held_port() as address:
        async with (
            Node(configured("n1")) as one,
            Node(configured("n2", one, gossip=address, gossip_interval_s=20.0)) as two,
        ):
            await two.wait_settled(TIMEOUT_S)
            stopping = asyncio.ensure_future(two.stop())
            await asyncio.sleep(0)
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)
            assert stopping.cancelled()
            async with Node(configured("n3", gossip=address)) as three:
                assert three.address == address


async def test_a_farewell_that_takes_too_long_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvgossip.runtime.pending.callers.FAREWELL_TIMEOUT_S", 0.05)
    async with asyncio.timeout(TIMEOUT_S):
        async with Node(configured(gossip_interval_s=60.0)):
            pass


async def test_a_bug_in_a_tick_is_logged_and_does_not_silence_the_node(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(2) as (one, two):
        replica = one._running.replica
        tick, calls = replica.tick, []

        def buggy(now: Any) -> Any:
            calls.append(now)
            if len(calls) < 3:
                raise ZeroDivisionError
            return tick(now)

        monkeypatch.setattr(replica, "tick", buggy)
        await one.put("a", b"1")
        await until_value(two, "a", b"1")
        assert sum("a bug of kvgossip" in record.getMessage() for record in caplog.records) == 2
    caplog.clear()


# -- who and where -------------------------------------------------------------------------------


async def test_a_node_without_a_name_takes_the_hosts_and_its_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for host, name in (
        ("web-1", "web-1"),
        ("Ada's Rechner!", "Ada-s-Rechner"),
        ("_.-", "node"),
        ("", "node"),
        ("x" * 300, "x"),
    ):
        monkeypatch.setattr("kvgossip.runtime.life.socket.gethostname", lambda host=host: host)
        node = Node(configured(""))
        assert node.name == ""
        async with node:
            assert node.name.endswith(f"-{node.address.port}")
            assert node.name.startswith(name)
            assert len(node.name) <= 128
            assert node.status()["name"] == node.name == node.members()[0].name
    assert Node(Config()).name.endswith("-7481")


async def test_a_node_tells_the_address_that_peers_reach() -> None:
    async with Node(configured("n1")) as one:
        assert one.address == one.config.gossip
        assert one.address.port != 0
        async with Node(configured("n2", one, gossip=Address("0.0.0.0", 0))) as two:
            assert two.address.host == ""
            await two.wait_settled(TIMEOUT_S)
            assert two.address == Address("127.0.0.1", two.config.gossip.port)
        async with Node(configured("n3", advertise=Address("198.51.100.7", 0))) as three:
            assert three.address == Address("198.51.100.7", three.config.gossip.port)


async def test_lesson_30_a_founder_that_listens_everywhere_is_reached_by_who_joins_it() -> None:
    async with (
        Node(configured("n1", gossip=EVERYWHERE)) as one,
        Node(configured("n2", gossip=EVERYWHERE)) as two,
    ):
        await two.join(f"127.0.0.1:{one.config.gossip.port}")
        reached = [Address("127.0.0.1", node.config.gossip.port) for node in (one, two)]
        await until(lambda: [member.address for member in two.members()] == reached)
        await two.put("a", b"1")
        await until_value(one, "a", b"1")


async def test_lesson_30_a_founder_that_listens_everywhere_learns_its_address_from_who_joins_it() -> (
    None
):
    async with (
        Node(configured("n1", gossip=EVERYWHERE)) as one,
        Node(configured("n2", gossip=EVERYWHERE)) as two,
    ):
        await two.join(f"127.0.0.1:{one.config.gossip.port}")
        assert one.address == Address("127.0.0.1", one.config.gossip.port)


async def test_a_node_that_is_known_by_a_dns_name_is_reached() -> None:
    async with (
        Node(configured("n1", advertise=Address("localhost", 0))) as one,
        Node(configured("n2", one)) as two,
    ):
        await two.wait_settled(TIMEOUT_S)
        assert one.address.host == "localhost"
        for number in range(20):
            await two.put("a", str(number))
            await until_value(one, "a", str(number).encode())
        await until_seen(two, "n1", MemberState.ALIVE)


async def test_the_status_is_ready_for_json_and_names_what_an_operator_asks_first() -> None:
    import json

    async with cluster(2) as (one, two):
        await one.put("a", b"1")
        await until_value(two, "a", b"1")
        status = json.loads(json.dumps(two.status()))
        assert (status["name"], status["cluster"], status["datacenter"]) == ("n2", "default", "dc1")
        assert (status["settled"], status["memory_only"], status["keys"]) == (True, True, 1)
        assert status["root"] == one.status()["root"]
        assert len(status["root"]) == len(status["site"]) == 16
        assert status["members"].keys() == {"alive", "suspect", "dead", "left"}
        assert sum(status["members"].values()) == 2
        assert status["last_exchange_age_s"] >= 0
        assert status["gossip"] == str(two.address)
        assert status["transport"]["datagrams_sent"] > 0


async def whole_life() -> None:
    async with asyncio.timeout(TIMEOUT_S), cluster(3) as (one, _, three), three.watch() as changes:
        await one.put("a", b"1")
        assert (await anext(changes)).new.value == b"1"
        await one.delete("a")
        assert (await anext(changes)).new.deleted


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_cluster_works_on_every_event_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(whole_life())


async def test_the_numbers_of_a_node_follow_from_none_that_it_has_sent_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[random.Random] = []
    begin = Replica.__init__

    def note(replica: Replica, *args: Any, rng: random.Random, **others: Any) -> None:
        given.append(rng)
        begin(replica, *args, rng=rng, **others)

    monkeypatch.setattr(Replica, "__init__", note)
    async with Node(configured("a")):
        assert [type(rng) for rng in given] == [random.SystemRandom]
