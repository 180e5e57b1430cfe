"""/releases: releases over HTTP, on several nodes whose processes take or refuse them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote

from kvgossip import Node
from kvgossip.cache.resolution import resolve
from kvgossip.cache.source import Applied, Record
from kvgossip.protocol.wire.release_messages import AskApplied
from tests.api.serving import Reply, Serve, Served
from tests.runtime.test_node import until, until_together

PREFIX = "shop/"
PATH = "/releases/shop/"


class Process:
    """A process with a cache beside a node: it shows what is there, and refuses a release in which
    `rate` is over 100."""

    def __init__(self, node: Node) -> None:
        self.node, self.release = node, ""

    def look(self) -> None:
        records = {
            each.key: Record(each.key, each.value, str(each.version))
            for each in self.node.scan(PREFIX)
        }
        found = resolve(records, PREFIX, self.node.name, self.node.config.zone)
        rate = found.values.get("rate")
        is_bad = rate is not None and int(rate.value or b"0") > 100
        self.release = self.release if is_bad else found.release
        refused = (("rate", "over 100"),) if is_bad else ()
        self.node.applied.tell([Applied(PREFIX, found.release, refused)])

    def start(self) -> None:
        self.look()
        self._running = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        async for _ in self.node.watch(PREFIX):
            self.look()

    def end(self) -> None:
        self._running.cancel()
        self.node.applied.tell([])


@asynccontextmanager
async def shop(serve: Serve, count: int) -> AsyncIterator[tuple[list[Served], list[Process]]]:
    """So many members in two zones, each with a process."""
    served: list[Served] = []
    async with AsyncExitStack() as stack:
        for number in range(count):
            join = (str(served[0].node.address),) if served else ()
            zone = "paris" if number % 2 else "rome"
            served.append(await serve(f"n{number}", join=join, zone=zone))
        await until_together(*(each.node for each in served))
        processes = [Process(each.node) for each in served]
        for each in processes:
            each.start()
            stack.callback(each.end)
        yield served, processes


async def put(served: Served, query: str, values: Any, expected: int = 200) -> Any:
    body = json.dumps({"values": values}).encode()
    reply = await served.call("PUT", PATH + query, body)
    assert reply.status == expected, reply
    return reply.json


async def states(served: Served) -> dict[str, str]:
    document = (await served.call("GET", PATH)).json
    return {each["node"]: each["state"] for each in document["members"]}


async def until_states(served: Served, expected: dict[str, str]) -> None:
    async with asyncio.timeout(30):
        while await states(served) != expected:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.01)


async def test_a_release_reaches_every_member_and_is_read_on_every_member(serve: Serve) -> None:
    async with shop(serve, 3) as (served, processes):
        made = await put(served[0], "?name=r1", {"rate": 20, "hosts": ["a"]})
        assert (made["made"], made["release"], made["hits"]) == ("r1", "r1", ["n0", "n1", "n2"])
        await until_states(served[1], dict.fromkeys(("n0", "n1", "n2"), "applied"))
        document = (await served[2].call("GET", f"{PATH}?name=r1")).json
        assert (document["values"], document["by"]) == ({"rate": 20, "hosts": ["a"]}, "n0")
        found = (await served[2].call("GET", PATH)).json
        assert (found["release"], found["canary"], found["releases"]) == ("r1", None, ["r1"])
        assert {each.release for each in processes} == {"r1"}


async def test_a_bad_canary_is_named_and_taken_back_and_a_good_one_is_for_all(
    serve: Serve,
) -> None:
    async with shop(serve, 4) as (served, processes):
        await put(served[0], "?name=r1", {"rate": 20})
        await until_states(served[0], dict.fromkeys(("n0", "n1", "n2", "n3"), "applied"))
        made = await put(served[3], "?name=r2&to=zone=paris", {"rate": 200})
        assert (made["hits"], made["release"]) == (["n1", "n3"], "r1")
        assert made["canary"] == {"release": "r2", "to": "zone=paris"}
        await until_states(
            served[2], {"n0": "applied", "n1": "refused", "n2": "applied", "n3": "refused"}
        )
        (why,) = {
            each["why"]
            for each in (await served[0].call("GET", PATH)).json["members"]
            if each["state"] == "refused"
        }
        assert why == "rate: over 100"
        assert {each.release for each in processes} == {"r1"}
        back = await served[2].call("POST", f"{PATH}?withdraw=r2")
        assert (back.status, back.json["made"], back.json["canary"]) == (200, "r1", None)
        await until_states(served[0], dict.fromkeys(("n0", "n1", "n2", "n3"), "applied"))
        await put(served[0], "?name=r3&to=member=n2", {"rate": 30})
        await until(lambda: processes[2].release == "r3")
        assert {each.release for each in processes if each is not processes[2]} == {"r1"}
        promoted = await served[0].call("POST", f"{PATH}?promote=r3")
        assert promoted.json["hits"] == ["n0", "n1", "n2", "n3"]
        await until(lambda: {each.release for each in processes} == {"r3"})
        rolled = await served[0].call("POST", f"{PATH}?rollback=")
        assert rolled.json["release"] == "r1"
        await until(lambda: {each.release for each in processes} == {"r1"})


async def test_who_does_not_answer_is_silent_and_who_has_no_process_is_nobody_to_wait_for(
    serve: Serve,
) -> None:
    async with shop(serve, 3) as (served, processes):
        processes[1].end()
        # as a node of a release that does not know the question
        old = served[2].node._running.replica.pools.lan
        old.dispatch._handlers[AskApplied] = lambda message, arrival: None
        await put(served[0], "?name=r1", {"rate": 1})
        expected = {"n0": "applied", "n1": "unused", "n2": "silent"}
        assert await states_within(served[0], "50ms") == expected


async def states_within(served: Served, timeout: str) -> dict[str, str]:
    document = (await served.call("GET", f"{PATH}?timeout={timeout}")).json
    return {each["node"]: each["state"] for each in document["members"]}


async def problem(reply: Reply, status: int, what: str) -> None:
    assert reply.status == status, reply
    assert what in reply.json["error"], reply
    assert reply.json["hint"] or status == 404


async def test_what_is_wrong_with_a_release_is_said_and_nothing_is_changed(served: Served) -> None:
    await put(served, "?name=r1", {"rate": 1})
    before = (await served.call("GET", PATH)).json
    for method, query, body, status, what in (
        ("PUT", "?name=r1", b'{"values": {"rate": 2}}', 409, "with other values"),
        ("PUT", "?name=a/b", b"{}", 400, "no name of a release"),
        ("PUT", "?name=r2", b"[]", 400, "the body does not fit"),
        ("PUT", "?name=r2", b'{"value": {}}', 400, "the body does not fit"),
        ("PUT", "?name=r2", b'{"values": {"/x": 1}}', 400, "no key under 'shop/'"),
        ("PUT", "?name=r2", b'{"format": 2}', 400, "of format 2"),
        ("PUT", "?name=r2&to=zone=lyon", b"{}", 400, "hits no member"),
        ("PUT", "?name=r2&to=everybody", b"{}", 400, "names no members"),
        ("PUT", "?name=r1&to=share=1", b'{"values": {"rate": 1}}', 409, "for all already"),
        ("PUT", "?name=r2", json.dumps({"values": {"a": "x" * 2**20}}).encode(), 413, "bytes"),
        ("PUT", "?name=r2", json.dumps({"values": {"a": "x" * 3000}}).encode(), 413, "bytes"),
        ("POST", "", None, 400, "one thing"),
        ("POST", "?promote=&rollback=", None, 400, "one thing"),
        ("POST", "?promote=", None, 409, "no canary"),
        ("POST", "?rollback=r9", None, 404, "no release 'r9'"),
        ("POST", "?withdraw=r9", None, 409, "not the newest"),
        ("GET", "?name=r9", None, 404, "no release 'r9'"),
        ("GET", "?timeout=1h", None, 400, "not a duration"),
    ):
        reply = await served.call(method, PATH + query, body)
        await problem(reply, status, what)
    after = (await served.call("GET", PATH)).json
    assert after == before
    await problem(await served.call("GET", "/releases/" + quote("x" * 1020)), 400, "1027 bytes")


async def test_the_same_release_again_is_the_same_and_bytes_come_back(served: Served) -> None:
    body = b'{"values": {"rate": 1}, "base64": {"logo": "AP8="}}'
    for _ in range(2):
        assert (await served.call("PUT", f"{PATH}?name=r1", body)).status == 200
    document = (await served.call("GET", f"{PATH}?name=r1")).json
    assert document["base64"] == {"logo": "AP8="}
    again = await served.call("PUT", f"{PATH}?name=r1", json.dumps(document).encode())
    assert again.status == 200


async def test_a_pointer_that_somebody_wrote_by_hand_is_an_error_in_words(served: Served) -> None:
    await served.call("PUT", "/kv/shop/@active", b"nonsense")
    await problem(await served.call("GET", PATH), 400, "the pointer to the release cannot be read")
    assert (await served.call("DELETE", "/kv/shop/@active")).status == 200
    assert (await served.call("GET", PATH)).json["release"] == ""
