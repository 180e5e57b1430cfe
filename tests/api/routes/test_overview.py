"""/cluster and /series: what real nodes say of themselves, who did not answer, and the last hour."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from kvgossip.api.sampler import UNITS
from kvgossip.api.server import DESCRIPTION
from kvgossip.protocol.model.lag import WAYS
from kvgossip.protocol.wire.message import Measure
from kvgossip.protocol.wire.overview_messages import AskOverview
from kvgossip.runtime.series import Series
from tests.api.event_stream import TIMEOUT_S
from tests.api.serving import Serve, Served

QUICK = {"probe_interval_s": 0.2, "probe_timeout_s": 0.1, "suspicion_max_multiplier": 2.0}


async def cluster_of(serve: Serve, *names: str, **settings: Any) -> list[Served]:
    first = await serve(names[0], inputs={"found": True}, **settings)
    join = (str(first.node.address),)
    servers = [first, *[await serve(name, join=join, **settings) for name in names[1:]]]
    for each in servers:
        await each.node.wait_settled(TIMEOUT_S)
    async with asyncio.timeout(TIMEOUT_S):
        while any(len(each.node.members()) < len(names) for each in servers):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return servers


async def look(server: Served) -> Any:
    reply = await server.call("GET", "/cluster")
    assert reply.status == 200
    described = {
        "$ref": "#/components/schemas/ClusterReport",
        "components": DESCRIPTION["components"],
    }
    jsonschema_rs.validate(described, reply.json)
    return reply.json


def mute(server: Served) -> None:
    """As a node that does not know the questions."""
    handlers = server.node._running.replica.pools.lan.dispatch._handlers
    for kind in (AskOverview, Measure):
        handlers[kind] = lambda message, arrival: None


def by_name(document: Any) -> dict[str, Any]:
    return {each["name"]: each for each in document["members"]}


async def until(server: Served, holds: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(TIMEOUT_S):
        while not holds(document := await look(server)):  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.05)
    return document


async def test_one_node_answers_for_all_and_who_did_not_answer_stands_there_as_such(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvgossip.runtime.reports.cluster.SHARED_S", 0.0)
    monkeypatch.setattr("kvgossip.runtime.reports.cluster.ASK_S", 0.5)
    a, b, c = await cluster_of(serve, "a", "b", "c", zone="z1")
    await a.node.put("k", b"v")
    b.node.block("10.2.0.0/16")
    told = await until(a, lambda document: bool(document["equal"]))
    assert (told["asked"], told["complete"], told["keys"], told["partitions"]) == ("a", True, 1, [])
    members = by_name(told)
    assert [each["self"] for each in members.values()] == [True, False, False]
    assert [each["differs_by"] for each in members.values()] == [0, 0, 0]
    said = members["b"]["said"]
    assert (said["standing"], said["keys"], said["tokens"]) == ("settled", 1, "none")
    assert said["blocked"] == ["10.2.0.0/16"]
    assert (members["b"]["zone"], members["b"]["addresses"]) == ("z1", [str(b.node.address)])
    mute(c)
    told = await look(a)
    silent = by_name(told)["c"]
    assert (told["complete"], told["equal"]) == (False, False)
    assert (silent["answered"], silent["same"], silent["said"]["keys"]) == (False, None, 1)
    assert silent["age_s"] > 0
    assert by_name(told)["b"]["answered"]


async def test_all_who_ask_at_a_time_get_one_report(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvgossip.runtime.reports.cluster.SHARED_S", TIMEOUT_S)
    a, b = await cluster_of(serve, "a", "b")
    handlers = b.node._running.replica.pools.lan.dispatch._handlers
    asked, answer = list[Any](), handlers[AskOverview]

    def count(message: Any, arrival: Any) -> None:
        asked.append(message)
        answer(message, arrival)

    handlers[AskOverview] = count
    await asyncio.gather(*(look(a) for _ in range(5)))
    await look(a)
    assert len(asked) == 1


async def test_members_that_die_are_findings_with_commands_events_and_a_suspected_partition(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvgossip.runtime.reports.cluster.SHARED_S", 0.0)
    monkeypatch.setattr("kvgossip.runtime.reports.cluster.EXAMINE_S", 0.0)
    a, b, c = await cluster_of(serve, "a", "b", "c", **QUICK)
    for each in (b, c):
        await each.node.stop(leave=False)

    def dead(document: Any) -> list[tuple[str, str]]:
        found = [each for each in document["findings"] if each["code"] == "dead"]
        return sorted((each["members"][0], each["command"]) for each in found)

    told = await until(a, lambda document: len(dead(document)) == 2)
    assert dead(told) == [(name, f"kvgossip force-leave {name}") for name in ("b", "c")]
    assert told["suspicions"] == [
        {"pool": "lan", "by": "a", "of": name, "state": "dead"} for name in ("b", "c")
    ]
    (partition,) = told["partitions"]
    assert (partition["says"], partition["groups"]) == ("a", [["a"], ["b", "c"]])
    assert partition["since_s"] > 0
    events = [(each.kind, each.document) for each in a.node.events.after(0)]
    states = [each["state"] for kind, each in events if kind == "member" and each["name"] == "c"]
    assert states == ["alive", "suspect", "dead"]
    assert ("came", "dead") in [
        (each["change"], each["code"]) for kind, each in events if kind == "finding"
    ]


# -- the last hour ---------------------------------------------------------------------------------


async def test_the_last_hour_is_what_was_counted_anyway(served: Served) -> None:
    reply = await served.call("GET", "/series")
    assert (reply.json["points"], reply.json["until_ms"]) == (0, None)
    for number in range(3):
        await served.call("PUT", f"/kv/k{number}", b"v")
    await served.call("GET", "/kv/k0")
    sampler = served.server._sampler
    sampler.sample()
    document = (await served.call("GET", "/series")).json
    assert (document["step_s"], document["points"]) == (10, 1)
    assert document["until_ms"] == sampler.sampled_ms
    values = {name: each["values"] for name, each in document["series"].items()}
    assert {name: each["unit"] for name, each in document["series"].items()} == UNITS
    assert values["keys"] == [3]
    assert values["members_alive"] == [1]
    assert values["requests"][0] == pytest.approx(4 / 3 * values["writes"][0], rel=1e-3)
    assert values["writes"][0] > 0


async def test_the_lag_of_what_another_node_writes_is_the_same_wherever_it_is_shown(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvgossip.runtime.reports.cluster.SHARED_S", 0.0)
    a, b = await cluster_of(serve, "a", "b", **QUICK)

    async def members() -> dict[str, Any]:
        return by_name((await a.call("GET", "/members")).json)

    async with asyncio.timeout(TIMEOUT_S):
        # the first writes may come before a has seen the clock of b
        while (await members())["b"]["lag_p99_ms"] is None:
            await b.node.put("k", b"v")
            await asyncio.sleep(0.02)
    shown = await members()
    assert (shown["a"]["lag_p50_ms"], shown["a"]["lag_p99_ms"]) == (None, None)
    lag = {name: shown["b"][name] for name in ("lag_p50_ms", "lag_p99_ms")}
    assert 0 < lag["lag_p50_ms"] <= lag["lag_p99_ms"]
    seen = by_name(await look(a))["b"]
    assert {name: seen[name] for name in lag} == lag
    status = (await a.call("GET", "/status")).json["lag"]
    measured = sum(a.node.lag_counts())
    assert measured > 0
    p50_ms, p99_ms = lag.values()
    assert status == {"dc1": {"measured": measured, "p50_ms": p50_ms, "p99_ms": p99_ms}}
    text = (await a.call("GET", "/metrics")).body.decode()
    ways = [rf'kvgossip_lag_seconds_count{{datacenter="dc1",way="{way}"}} (\S+)' for way in WAYS]
    assert sum(float(found) for way in ways for found in re.findall(way, text)) == measured
    # nothing arrives between two samples of the plot: it has no lag then
    sampler = a.server._sampler
    sampler._lags_before = [0] * len(a.node.lag_counts())
    sampler.sample()
    sampler.sample()
    series = sampler.series
    assert series.values("lag_p50") == [pytest.approx(lag["lag_p50_ms"] / 1000), None]
    assert series.values("lag_p99") == [pytest.approx(lag["lag_p99_ms"] / 1000), None]


def test_a_series_keeps_the_newest_points_oldest_first_and_what_is_not_known() -> None:
    series = Series(("x",), points_max=3)
    assert (len(series), series.values("x")) == (0, [])
    for number in (1.0, None, 3.0, 4.0):
        series.add({"x": number})
    assert (len(series), series.values("x")) == (3, [None, 3.0, 4.0])
    assert json.dumps(series.values("x")) == "[null, 3.0, 4.0]"
