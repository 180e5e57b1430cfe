"""A node as a mapping of keys to values, and its changes as sets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kvgossip import Change, LocalError, MemberChange, NotSettledError, SetWatcher, Writing
from kvgossip.runtime.node import Node
from tests.runtime.test_node import TIMEOUT_S, cluster, configured, until_together, until_value

UNREACHABLE = "127.0.0.1:9"


async def test_a_node_reads_as_a_mapping_of_its_live_keys() -> None:
    async with Node(configured()) as node:
        for key in ("b", "a", "c", "ä"):
            await node.put(key, key)
        await node.delete("c")
        assert (node["a"], node.get("a"), node.get("a", b"other")) == (b"a", b"a", b"a")
        assert (node.get("c"), node.get("c", b"d"), node.get("no", None)) == (None, b"d", None)
        for gone in ("c", "no"):
            with pytest.raises(KeyError) as missing:
                node[gone]
            assert missing.value.args == (gone,)
        assert ["a" in node, "c" in node, "no" in node, 7 in node] == [True, False, False, False]
        assert list(node) == sorted(["a", "b", "ä"])
        assert len(node) == 3
        assert dict(zip(node, map(node.get, node), strict=True)) == {
            "a": b"a",
            "b": b"b",
            "ä": "ä".encode(),
        }


async def test_an_empty_value_is_a_value_and_an_empty_node_is_a_node() -> None:
    async with Node(configured()) as node:
        assert (len(node), list(node), bool(node)) == (0, [], True)
        await node.put("empty", b"")
        assert (node["empty"], node.get("empty", b"x"), "empty" in node) == (b"", b"", True)
    assert node, "also one that does not run"


async def test_an_iteration_is_of_the_keys_at_its_beginning_whatever_comes_and_goes() -> None:
    async with Node(configured()) as node:
        for number in range(2500):
            await node.put(f"{number:04}", b"v")
        seen = []
        for key in node:
            seen.append(key)
            await node.delete(f"{9999 - int(key):04}")
            await node.put(f"new/{key}", b"v")
            if len(seen) == 100:
                await node.delete("2400")
        assert seen == [f"{number:04}" for number in range(2500)]
        assert "2400" not in node


async def test_an_expired_value_is_no_longer_in_the_mapping() -> None:
    async with Node(configured()) as node:
        await node.put("short", b"v", ttl_s=0.05)
        async with asyncio.timeout(TIMEOUT_S), node.watch() as changes:
            assert "short" in node
            assert (await anext(changes)).new.deleted
        assert ("short" in node, len(node), list(node)) == (False, 0, [])


async def test_before_it_has_settled_a_node_answers_nothing_as_truth_not_even_a_default() -> None:
    node = Node(configured(join=(UNREACHABLE,)))
    await node.start()
    try:
        for ask in (
            lambda: node.get("k", b"default"),
            lambda: node["k"],
            lambda: "k" in node,
            lambda: len(node),
            lambda: list(node),
        ):
            with pytest.raises(NotSettledError):
                ask()
        assert node
    finally:
        await node.stop(leave=False)


async def test_what_the_disk_has_is_in_the_mapping_before_the_node_has_settled(
    tmp_path: Path,
) -> None:
    async with Node(configured(data_dir=str(tmp_path))) as node:
        await node.put("k", b"v")
    stale = Node(configured(data_dir=str(tmp_path), join=(UNREACHABLE,), founding_s=600.0))
    await stale.start()
    try:
        assert stale.stale_s is not None
        assert (stale["k"], "k" in stale, len(stale), list(stale)) == (b"v", True, 1, ["k"])
        with pytest.raises(NotSettledError):
            stale.get("no", b"default")
    finally:
        await stale.stop(leave=False)


# -- sets ------------------------------------------------------------------------------------------


async def test_a_batch_is_one_set_where_it_is_written_and_where_it_arrives() -> None:
    async with cluster(2) as (one, two):
        here, there = one.watch_sets("c/"), two.watch_sets("c/")
        await one.put("c/before", b"0")
        await one.batch([Writing("c/a", b"1"), Writing("other", b"-"), Writing("c/b", b"2")])
        await one.batch([Writing("c/a", None), Writing("c/b", b"3")])
        assert await take(here, 3) == [
            [("c/before", b"0")],
            [("c/a", b"1"), ("c/b", b"2")],
            [("c/a", None), ("c/b", b"3")],
        ]
        await until_value(two, "c/b", b"3")
        seen: list[list[tuple[str, bytes | None]]] = []
        while ("c/b", b"3") not in (seen[-1] if seen else []):
            seen += await take(there, 1)
        # one datagram may bring several writes, but none a part of a batch
        assert [pair for each in seen for pair in each] == [
            ("c/before", b"0"),
            ("c/a", b"1"),
            ("c/b", b"2"),
            ("c/a", None),
            ("c/b", b"3"),
        ]
        starts = [each[0] for each in seen]
        assert ("c/b", b"2") not in starts
        assert ("c/b", b"3") not in starts


async def take(watcher: SetWatcher, count: int) -> list[list[tuple[str, bytes | None]]]:
    async with asyncio.timeout(TIMEOUT_S):
        sets: list[tuple[Change, ...]] = [await anext(watcher) for _ in range(count)]
    return [[(change.key, change.new.value) for change in each] for each in sets]


# -- members ---------------------------------------------------------------------------------------


async def test_changes_of_members_come_to_streams_and_to_callbacks_in_one_order() -> None:
    async with Node(configured("n1")) as one:
        heard: list[tuple[str, str]] = []
        stream = one.watch_members()

        def hear(change: MemberChange) -> None:
            assert change.new is not None
            heard.append((change.new.name, change.new.state.name))

        end = one.on_member_change(hear)
        async with Node(configured("n2", one)) as two:
            async with asyncio.timeout(TIMEOUT_S):
                change = await anext(stream)
                while change.new is None or change.new.name != "n2":
                    change = await anext(stream)
            assert (change.old, change.pool) == (None, "lan")
            assert one.members()[-1].name == "n2"
            await until_together(one, two)  # it says farewell to those whom it knows
        async with asyncio.timeout(TIMEOUT_S):
            while change.new is None or change.new.state.name != "LEFT":
                change = await anext(stream)
        await asyncio.sleep(0)  # the callback is called after the stream has woken
        assert next(each for each in heard if each[0] == "n2") == ("n2", "ALIVE")
        assert heard[-1] == ("n2", "LEFT")
        end()
        end()
        before = list(heard)
        async with Node(configured("n3", one)) as three:
            await until_together(one, three)
        assert heard == before
        async with asyncio.timeout(TIMEOUT_S):
            while change.new is None or change.new.name != "n3":
                change = await anext(stream)
    async with asyncio.timeout(TIMEOUT_S):
        rest = [each async for each in stream]
    assert all(each.new is None or each.new.name != "n2" for each in rest)


async def test_a_callback_for_members_is_no_coroutine_function() -> None:
    async def wrong(change: object) -> None: ...

    async with Node(configured()) as node:
        with pytest.raises(LocalError, match="plain function") as refused:
            node.on_member_change(wrong)
        assert "watch_members" in refused.value.hint
