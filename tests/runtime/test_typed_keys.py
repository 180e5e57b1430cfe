"""Counters, sets, maps and siblings as programs use them, on real nodes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest

from kvgossip import Node
from kvgossip.errors import (
    BadContextError,
    BadPartError,
    LocalError,
    OtherTypeError,
    SiblingsError,
    StaleError,
    ValueTooLargeError,
)
from kvgossip.protocol.model.entry import Version
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed.context_token import token_of
from kvgossip.protocol.typed.typed_record import empty
from kvgossip.runtime.resolver import TRIES
from tests.runtime.test_node import TIMEOUT_S, cluster, configured, until


def values(node: Node, key: str) -> list[bytes]:
    return sorted(each.value for each in node.siblings(key).values)


def has_values(node: Node, key: str, expected: list[bytes]) -> bool:
    return values(node, key) == expected


def adds_up(node: Node, key: str, total: int) -> bool:
    return node.counter(key).value == total


async def test_counters_sets_maps_and_extremes_are_read_and_written() -> None:
    async with Node(configured()) as node:
        hits, tags = node.counter("hits"), node.set("tags")
        assert (hits.value, tags.value, node.map("cfg").value) == (0, frozenset(), {})
        assert (node.max("high").value, node.min("low").value) == (None, None)
        await hits.add(3)
        await hits.add(-1)
        entry = await tags.add("a", "b")
        assert entry is not None
        assert (entry.value, entry.content_type) == (b'["a","b"]', "application/json")
        await tags.remove("a")
        assert await tags.remove("a") is None
        fields = node.map("cfg")
        fields["x"], fields["gone"] = 1, None
        del fields["gone"]
        await fields.put("y", "z")
        await fields.add("n", 4)
        await fields.add_elements("s", "u", "v")
        await fields.remove_elements("s", "u")
        await fields.remove("y")
        await node.max("high").put(3)
        assert await node.max("high").put(2) is None
        await node.min("low").put(1.5)
        assert (hits.value, tags.value) == (2, frozenset({"b"}))
        assert fields.value == {"x": 1, "n": 4, "s": frozenset({"v"})}
        assert (list(fields), fields["x"], "y" in fields, "b" in tags) == (
            ["n", "s", "x"],
            1,
            False,
            True,
        )
        assert (node.max("high").value, node.min("low").value) == (3, 1.5)
        with pytest.raises(KeyError):
            del fields["gone"]


async def test_who_knows_but_values_sees_json_and_the_newest_sibling() -> None:
    async with Node(configured()) as node:
        async with node.watch() as changes:
            await node.counter("n").add(3)
            await node.put("k", "old", siblings=True, content_type="text/plain")
            await node.put("k", "new")
            seen = [await anext(changes) for _ in range(3)]
        assert (node.get("n"), node["k"]) == (b"3", b"new")
        assert [each.new.value for each in seen] == [b"3", b"old", b"new"]
        assert [each.value for each in node.scan()] == [b"new", b"3"]
        entry = node.entry("n")
        assert entry is not None
        assert (entry.content_type, str(entry.version)) == (
            "application/json",
            str(seen[0].new.version),
        )
        assert [each.entry.value for each in node.history("k")] == [b"new", b"old"]


async def test_siblings_are_kept_until_a_write_with_their_context_takes_their_place() -> None:
    async with Node(configured()) as node:
        await node.put("k", "a", siblings=True)
        await node.put("k", "b")
        found = node.siblings("k")
        assert [each.value for each in found.values] == [b"b", b"a"]
        await node.put("k", "late")
        await node.put("k", "ab", context=found.context)
        assert values(node, "k") == [b"ab", b"late"]
        await node.delete("k", context=found.context)
        assert values(node, "k") == [b"ab", b"late"]
        tombstone = await node.delete("k", context=node.siblings("k").context)
        assert tombstone is not None
        assert tombstone.deleted
        assert node.siblings("k").values == ()
        assert "k" not in node
        await node.put("plain", "x")
        assert values(node, "plain") == [b"x"]
        assert node.siblings("plain").context is None
        assert node.siblings("none") == ((), None)


async def test_writes_of_two_nodes_that_did_not_hear_of_each_other_are_both_there() -> None:
    async with cluster(2) as (one, other):
        await asyncio.gather(*(node.counter("n").add(5) for node in (one, other)))
        await asyncio.gather(*(node.put("k", node.name, siblings=True) for node in (one, other)))
        for node in (one, other):
            await until(partial(adds_up, node, "n", 10))
            await until(partial(has_values, node, "k", [b"n1", b"n2"]))
        held = await one.edit_and_wait("n", edits.add(1), "all", timeout_s=TIMEOUT_S)
        assert held is not None
        assert held.met
        assert other.counter("n").value == 11
        assert await one.edit_and_wait("tags", edits.remove_elements(["a"]), "1") is None


async def test_who_waits_for_a_write_that_was_merged_waits_for_that_one() -> None:
    async with Node(configured("n1")) as one, Node(configured("n2")) as other:
        entry = await one.counter("n").add(1)
        assert entry is not None
        await other.put("x", "", after=entry.version)
        later = await other.counter("n").add(1)
        assert later is not None
        assert later.version > entry.version
        with pytest.raises(StaleError):
            await other.wait_for("n", entry.version, 0.0)
        record = one.record("n")
        assert record is not None
        waits = asyncio.create_task(other.wait_for("n", entry.version, TIMEOUT_S))
        await other.restore([("n", record)])
        assert (await waits).value == b"2"


Wrong = Callable[[Node], Awaitable[object]]
REFUSED: dict[str, tuple[Wrong, type[LocalError]]] = {
    "a counter of a text": (lambda node: node.counter("text").add(1), OtherTypeError),
    "a set of a counter": (lambda node: node.set("n").add("x"), OtherTypeError),
    "a plain value": (lambda node: node.put("n", "x"), OtherTypeError),
    "siblings of a text": (lambda node: node.put("text", "x", siblings=True), OtherTypeError),
    "no integer": (lambda node: node.counter("n").add(2**64), BadPartError),
    "a text for a list": (lambda node: node.edit("s", edits.add_elements("ab")), BadPartError),
    "an empty element": (lambda node: node.set("s").add(""), BadPartError),
    "no element": (lambda node: node.set("s").add(), BadPartError),
    "no context": (lambda node: node.put("k", "x", context="none"), BadContextError),
    "another's context": (
        lambda node: node.put("k", "x", context=node.siblings("other").context),
        BadContextError,
    ),
    "a context of a text": (
        lambda node: node.delete("text", context=_context_of("text")),
        BadContextError,
    ),
    "a context and a version": (
        lambda node: node.put("k", "x", context="a", after=Version(1, 1)),
        LocalError,
    ),
    "too long": (lambda node: node.put("k", "x" * 65_536, siblings=True), ValueTooLargeError),
    "a default of no type": (
        lambda node: node.put(".kvgossip/types/cart/", "bag"),
        BadPartError,
    ),
}


def _context_of(key: str) -> str:
    return token_of(key, empty("siblings"))


async def test_what_does_not_fit_is_refused_in_words_and_changes_nothing() -> None:
    async with Node(configured()) as node:
        await node.put("text", "x")
        await node.counter("n").add(1)
        await node.put("other", "x", siblings=True)
        before = node.root
        for name, (wrong, kind) in REFUSED.items():
            with pytest.raises(kind) as failure:
                await wrong(node)
            assert failure.value.hint, name
            assert node.root == before, name
        with pytest.raises(OtherTypeError):
            node.set("n").value  # noqa: B018 - to read it is to ask
        for number in range(32):
            await node.put("other", str(number)) if number else None
        with pytest.raises(SiblingsError):
            await node.put("other", "one too many")


async def test_new_keys_of_a_prefix_get_the_type_that_its_default_names() -> None:
    async with Node(configured()) as node:
        await node.put(".kvgossip/types/cart/", "siblings")
        await node.put(".kvgossip/types/cart/old/", "lww")
        await node.put(".kvgossip/types/n/", "counter")
        await node.put("cart/1", "a")
        await node.put("cart/1", "b")
        await node.put("cart/old/1", "a")
        await node.put("cart/old/1", "b")
        assert values(node, "cart/1") == [b"a", b"b"]
        assert values(node, "cart/old/1") == [b"b"]
        with pytest.raises(OtherTypeError, match="counter"):
            await node.put("n/1", "text")
        await node.counter("n/1").add(2)
        assert node["n/1"] == b"2"
        await node.delete("cart/1")
        await node.put("cart/1", "c")
        assert node.siblings("cart/1").context is not None


async def test_a_write_after_a_version_that_was_read_elsewhere_is_newer_than_that() -> None:
    async with Node(configured("n1")) as one, Node(configured("n2")) as other:
        read = await one.put("k", "x")
        ahead = Version(read.version.timestamp + (5 << 16), read.version.site)
        written = await other.put("k", "y", after=ahead)
        assert written.version > ahead
        deleted = await other.delete("k", after=Version(ahead.timestamp + (1 << 20), 7))
        assert deleted is not None
        assert deleted.version.timestamp > ahead.timestamp + (1 << 20)
        with pytest.raises(BadContextError):
            await other.put("k", "z", after=Version(2**63, 7))
        await other.counter("n").add(1)
        with pytest.raises(OtherTypeError):
            await other.put("n", "z", after=ahead)


def _joined(found: Sequence[bytes]) -> bytes:
    return b"+".join(sorted(set(b"+".join(found).split(b"+"))))


async def test_a_resolver_writes_one_value_for_several_siblings() -> None:
    async with cluster(2) as nodes:
        resolvers = [node.resolver("cart/", _joined) for node in nodes]
        await asyncio.gather(*(node.put("cart/1", node.name, siblings=True) for node in nodes))
        await nodes[0].put("other", "a", siblings=True)
        await nodes[0].put("other", "b")
        for node in nodes:
            await until(partial(has_values, node, "cart/1", [b"n1+n2"]))
        assert values(nodes[0], "other") == [b"a", b"b"]
        assert sum(each.resolved for each in resolvers) >= 1
        for each in resolvers:
            each.close()


async def test_a_resolver_leaves_what_it_cannot_resolve_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Node(configured()) as node:
        asked: list[str] = []

        def fails(found: Sequence[bytes]) -> bytes:
            asked.append("asked")
            raise ValueError("no idea")

        def has_asked(times: int) -> bool:
            return len(asked) >= times

        resolver = node.resolver("k", fails)
        with caplog.at_level(logging.WARNING, "kvgossip.resolver"):
            for number in range(TRIES + 3):
                await node.put("k", str(number), siblings=True)
                await until(partial(has_asked, min(number, TRIES)))
            await until(lambda: resolver.left > 0)
        assert len(asked) == TRIES
        assert "the siblings of 'k' stay" in caplog.text
        assert len(values(node, "k")) == TRIES + 3

        async def waits(found: Sequence[bytes]) -> bytes:
            return found[0]

        with pytest.raises(LocalError):
            node.resolver("k", waits)  # type: ignore[arg-type]
