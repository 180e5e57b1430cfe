"""POST /batch and Node.batch: on real nodes, over HTTP and embedded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kvgossip import Node
from kvgossip.errors import BadBatchError
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.write import Writing
from tests.api.serving import Served, serving
from tests.runtime.test_node import cluster, configured, until, until_together


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as start:
        yield await start()


def body(*operations: dict[str, Any]) -> bytes:
    return json.dumps({"operations": operations}).encode()


async def test_puts_deletes_and_gets_happen_together(served: Served) -> None:
    await served.node.put("old", b"\xff", content_type="image/x")
    reply = await served.call(
        "POST",
        "/batch",
        body(
            {"put": "a", "value": "ç"},
            {"put": "b", "base64": "AP8=", "content_type": "x/y"},
            {"delete": "old"},
            {"delete": "nothing"},
            {"get": "old"},
            {"get": "a"},
        ),
    )
    assert reply.status == 200
    a, b, old, nothing, got, absent = reply.json["results"]
    assert (a["put"], b["put"], old["delete"], nothing) == (
        "a",
        "b",
        "old",
        {"delete": "nothing", "version": None},
    )
    stamps = [int(each["version"].partition("-")[0], 16) for each in (a, b, old)]
    assert stamps == [stamps[0], stamps[0] + 1, stamps[0] + 2]
    assert (got["base64"], got["content_type"]) == ("/w==", "image/x")
    assert absent == {"get": "a", "version": None}
    assert (served.node.get("a"), served.node.get("b"), served.node.get("old")) == (
        "ç".encode(),
        b"\x00\xff",
        None,
    )
    read = (await served.call("POST", "/batch", body({"get": "a"}))).json["results"]
    assert read == [{"get": "a", "version": a["version"], "value": "ç"}]


async def test_each_put_of_a_batch_has_its_own_time_to_live_flags_and_content_type(
    served: Served,
) -> None:
    operations = (
        {"put": "a", "value": "1", "ttl": "1h", "flags": 2**64 - 1, "content_type": "text/plain"},
        {"put": "b", "value": "2", "flags": 7},
        {"put": "c", "value": "3", "ttl": "30s"},
    )
    assert (await served.call("POST", "/batch", body(*operations))).status == 200
    a, b, c = (served.node.entry(key) for key in "abc")
    assert a is not None
    assert b is not None
    assert c is not None
    assert (a.flags, a.content_type, b.flags, b.expires_ms, c.flags, c.content_type) == (
        2**64 - 1,
        "text/plain",
        7,
        None,
        0,
        None,
    )
    assert [each.expires_ms for each in (a, c)] == [
        milliseconds_of(a.version.timestamp) + 3_600_000,
        milliseconds_of(c.version.timestamp) + 30_000,
    ]
    results = (await served.call("POST", "/batch", body({"get": "a"}, {"get": "c"}))).json[
        "results"
    ]
    assert results == [
        {
            "get": "a",
            "version": str(a.version),
            "value": "1",
            "content_type": "text/plain",
            "flags": 2**64 - 1,
        },
        {"get": "c", "version": str(c.version), "value": "3"},
    ]


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        ([], 400),
        ([{"put": "x", "value": "1"}, {}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y"}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": "1", "base64": "AA=="}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "base64": "?"}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": 1}], 400),
        ([{"put": "x", "value": "1"}, {"delete": "y", "value": "1"}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": "1", "ttl": 1}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": "1", "ttl": "soon"}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": "1", "ttl": "0s"}], 400),
        ([{"put": "x", "value": "1"}, {"delete": "y", "ttl": "1s"}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": "1", "flags": -1}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": "1", "flags": 2**64}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": "1", "flags": "1"}], 400),
        ([{"put": "x", "value": "1"}, {"get": "y", "flags": 0}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "delete": "y", "value": "1"}], 400),
        ([{"put": "x", "value": "1"}, {"put": "../y", "value": "1"}], 400),
        ([{"put": "x", "value": "1"}, {"get": ""}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": "1", "content_type": "\n"}], 400),
        ([{"put": "x", "value": "1"}, {"delete": "x"}], 400),
        ([{"put": "x", "value": "1"}, {"edit": "x", "add": 1}], 400),
        ([{"put": "x", "value": "1"}, {"edit": "y"}], 400),
        ([{"put": "x", "value": "1"}, {"edit": "y", "add": 1, "max": 1}], 400),
        ([{"put": "x", "value": "1"}, {"edit": "y", "add": 1, "value": "1"}], 400),
        ([{"put": "x", "value": "1"}, {"edit": "y", "add": "1"}], 400),
        ([{"put": "x", "value": "1"}, {"edit": "y", "add": 2**63}], 400),
        ([{"put": "x", "value": "1"}, {"edit": "y", "add": []}], 400),
        ([{"put": "x", "value": "1", "add": 1}], 400),
        ([{"get": "x", "field": "f"}], 400),
        ([{"put": "x", "value": "1"}, {"edit": "../y", "add": 1}], 400),
        ([{"put": "x", "value": "1"}, {"put": "y", "value": "v" * 3000}], 413),
        ([{"put": f"x{number}", "value": "1"} for number in range(300)], 400),
    ],
)
async def test_a_part_that_does_not_fit_refuses_the_whole(
    served: Served, operations: list[Any], status: int
) -> None:
    reply = await served.call("POST", "/batch", body(*operations))
    assert reply.status == status, reply.body
    assert reply.json["hint"]
    assert served.node.list() == []


async def test_what_is_merged_is_edited_among_the_rest_all_of_it_or_nothing(
    served: Served,
) -> None:
    await served.call("POST", "/kv/hits", b'{"add": 2}')
    await served.call("PUT", "/kv/cart?type=siblings", b"tea")
    reply = await served.call(
        "POST",
        "/batch",
        body(
            {"put": "a", "value": "1"},
            {"edit": "hits", "add": 3},
            {"edit": "tags", "add": ["x", "y"]},
            {"edit": "cfg", "set": {"f": 1}},
            {"put": "cart", "value": "milk"},
            {"get": "hits"},
        ),
    )
    assert reply.status == 200, reply.body
    a, hits, tags, cfg, cart, got = reply.json["results"]
    assert [each["type"] for each in (hits, tags, cfg)] == ["counter", "set", "map"]
    assert [each["value"] for each in (hits, tags, cfg)] == [5, ["x", "y"], {"f": 1}]
    assert got["value"] == "2"
    assert a["version"]
    assert cart["version"]
    assert len(served.node.siblings("cart").values) == 2
    part = body({"edit": "hits", "add": 1}, {"edit": "a", "add": 1})
    assert (await served.call("POST", "/batch", part)).status == 409
    assert served.node.get("hits") == b"5"
    same = await served.call("POST", "/batch", body({"edit": "tags", "remove": ["z"]}))
    assert same.json["results"] == [tags]
    gone = await served.call("POST", "/batch", body({"delete": "hits"}, {"delete": "cart"}))
    assert all(each["version"] for each in gone.json["results"])
    assert (served.node.get("hits"), served.node.get("cart")) == (None, None)


async def test_a_batch_is_no_request_of_a_foreign_page(served: Served) -> None:
    reply = await served.call(
        "POST", "/batch", body({"put": "a", "value": "1"}), Origin="https://evil.example"
    )
    assert reply.status == 403
    assert served.node.list() == []


async def test_a_batch_is_durable_and_reaches_the_others_as_one(tmp_path: Any) -> None:
    async with cluster(2) as nodes:
        async with Node(configured("disk", nodes[0], data_dir=str(tmp_path))) as node:
            await until_together(*nodes, node)
            changes = nodes[1].watch("k")
            entries = await node.batch([Writing(f"k{number}", b"v" * 100) for number in range(50)])
            assert all(entry is not None for entry in entries)
            seen = [(await anext(changes)).key for _ in range(50)]
            assert seen == [f"k{number}" for number in range(50)]
            with pytest.raises(BadBatchError):
                await node.batch([])
            await changes.aclose()
        async with Node(configured("disk", nodes[0], data_dir=str(tmp_path))) as again:
            assert len(again.list("k")) == 50
            await until(lambda: len(nodes[0].list("k")) == 50)
