"""/differences and /exchange: which keys differ from a member, what it has, and how they become the
same again."""

from __future__ import annotations

import asyncio
from typing import Any

from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.runtime.node import Node
from tests.api.event_stream import TIMEOUT_S
from tests.api.routes.test_overview import cluster_of
from tests.api.serving import Serve, Served

APART = {
    # members that differ stay so: nobody exchanges by himself
    "rumor_settling_s": 600.0,
    "push_pull_interval_s": 600.0,
    # a slow machine takes nobody for dead
    "suspicion_multiplier": 100.0,
}


def write_unheard(node: Node, key: str, value: bytes | None) -> None:
    """A write of this node, a delete where it is None, whose rumor is lost."""
    driver = node._running
    replica, now = driver.replica, driver.clocks()
    write = (
        replica.delete(key, now) if value is None else replica.put(key, value, now, "text/plain")
    )
    replica.pools.cool(key)
    driver.do(write.effects, now)


async def differences(server: Served, query: str) -> Any:
    reply = await server.call("GET", f"/differences?{query}")
    assert reply.status == 200, reply.body
    return reply.json


async def test_what_differs_is_listed_with_both_sides_and_an_exchange_repairs_it(
    serve: Serve,
) -> None:
    a, b = await cluster_of(serve, "a", "b", **APART)
    await a.node.put("config/theme", b"common")
    async with asyncio.timeout(TIMEOUT_S):
        while a.node.root != b.node.root:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.02)
    before = await differences(a, "member=b")
    assert (before["keys"], before["whole"], before["differences"]) == (0, True, [])
    write_unheard(b.node, "config/theme", b"dark")
    entry = b.node.entry("config/theme")
    assert entry is not None
    version = str(entry.version)
    write_unheard(b.node, "config/old", b"v")
    write_unheard(b.node, "config/old", None)
    write_unheard(a.node, "app/x", b"of a")

    found = await differences(a, "member=b")
    assert (found["asked"], found["member"], found["pool"]) == ("a", "b", "lan")
    assert (found["keys"], found["precision"], found["whole"]) == (3, "exact", True)
    mine, deleted, theirs = found["differences"]
    assert (mine["key"], mine["newer"], mine["there"], mine["why"]) == ("app/x", "here", None, None)
    assert (mine["here"]["by"], mine["here"]["bytes"]) == ("a", 4)
    assert (deleted["key"], deleted["here"], deleted["there"]["deleted"]) == (
        "config/old",
        None,
        True,
    )
    assert (theirs["key"], theirs["newer"]) == ("config/theme", "there")
    assert (theirs["there"]["version"], theirs["there"]["by"]) == (version, "b")
    under = await differences(a, "member=b&prefix=config/&limit=1")
    assert [each["key"] for each in under["differences"]] == ["config/old"]
    assert (under["keys"], under["whole"]) == (2, False)

    value = await a.call("GET", "/differences/config/theme?member=b")
    assert (value.status, value.body) == (200, b"dark")
    assert (value.headers["kv-version"], value.headers["content-type"]) == (version, "text/plain")
    gone = await a.call("GET", "/differences/config/old?member=b")
    assert (gone.status, gone.json["deleted"]) == (404, True)
    assert (await a.call("GET", "/differences/app/x?member=b")).status == 404
    assert (await b.call("GET", "/differences/config/theme?member=a")).body == b"common"

    exchanged = await a.call("POST", "/exchange", b'{"member": "b"}')
    assert (exchanged.status, exchanged.json["completed"]) == (200, True)
    assert exchanged.json["found"] == 3
    assert a.node.root == b.node.root
    assert a.node["config/theme"] == b"dark"
    assert (await a.call("GET", "/differences/config/theme?member=b")).body == b"dark"


async def test_what_a_member_does_not_take_says_why(serve: Serve) -> None:
    quick = {"probe_interval_s": 0.2, "probe_timeout_s": 0.1}
    a, b = await cluster_of(serve, "a", "b", **APART, **quick, clock_drift_max_s=1.0)
    driver = b.node._running
    ahead = make_record(Version((driver.clocks().wall_ms + 60_000) << 16, 1 << 60), b"v")
    driver.replica.store.merge("k", ahead)
    (found,) = (await differences(a, "member=b"))["differences"]
    assert (found["newer"], found["why"]["code"]) == ("there", "clock_ahead")
    assert "s ahead of this node's clock" in found["why"]["text"]
    exchanged = (await a.call("POST", "/exchange", b'{"member": "b"}')).json
    assert (exchanged["completed"], exchanged["found"]) == (True, 0)
    assert (await a.call("GET", "/differences/k?member=b")).body == b"v"
    async with asyncio.timeout(TIMEOUT_S):
        while not (why := (await differences(a, "member=b"))["why"]):
            await a.call("POST", "/exchange", b'{"member": "b"}')
    assert [each["code"] for each in why] == ["given_up"]


async def test_a_member_that_cannot_be_asked_is_named_with_what_to_do(serve: Serve) -> None:
    a, _ = await cluster_of(serve, "a", "b", **APART)
    for target in ("/differences", "/differences/k"):
        assert (await a.call("GET", target)).status == 400
        assert (await a.call("GET", f"{target}?member=x")).status == 404
        assert (await a.call("GET", f"{target}?member=a")).status == 404
    assert (await a.call("GET", "/differences?member=b&limit=0")).status == 400
    assert (await a.call("POST", "/exchange", b'{"member": "x"}')).status == 404
    assert (await a.call("POST", "/exchange", b"{}")).status == 400
    a.node.block("b")
    for reply in (
        await a.call("GET", "/differences?member=b"),
        await a.call("POST", "/exchange", b'{"member": "b"}'),
    ):
        assert reply.status == 504
        assert "blocks 'b'" in reply.json["error"]
        assert "unblock" in reply.json["hint"]
