"""The doctor on real sockets: what is blocked, whose clock is wrong and who is missing is said in
words, by node, API and command."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from kvgossip.api.listening import listen
from kvgossip.api.server import ApiServer
from kvgossip.cli import doctor as doctor_module
from kvgossip.cli import rtt as rtt_module
from kvgossip.config import Address
from kvgossip.errors import LocalError, NotFoundError
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.runtime.clocks import read_clocks
from kvgossip.runtime.node import Node
from tests.asking import AsyncClient
from tests.runtime.test_node import (
    GATEWAY,
    LOOPBACK,
    TIMEOUT_S,
    cluster,
    configured,
    until,
    until_together,
)


def block_udp(
    patch: pytest.MonkeyPatch,
    node: Node,
    others: Collection[Address],
    pool: PoolKind = PoolKind.LAN,
) -> None:
    """No datagram of this node gets to these addresses any more."""
    transport = node._open.transports[pool]
    send = transport.send
    patch.setattr(
        transport,
        "send",
        lambda to, data, reliable, fresh: (
            send(to, data, reliable, fresh) if reliable or to not in others else None
        ),
    )


def clocks_ahead() -> Now:
    """Those of a machine whose wall clock is 4.2 seconds ahead."""
    now = read_clocks()
    return now._replace(wall_ms=now.wall_ms + 4200)


def texts(doctor_report: dict[str, Any]) -> list[str]:
    return [finding["text"] for finding in doctor_report["findings"]]


def codes_of(member: str, doctor_report: dict[str, Any]) -> list[str]:
    return [
        finding["code"] for finding in doctor_report["findings"] if member in finding["members"]
    ]


async def examined(
    doctor: Callable[[], Awaitable[dict[str, Any]]], shows: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Ask the doctor until it has found this: one examination takes two seconds, and so long a busy
    machine may stand still."""
    async with asyncio.timeout(TIMEOUT_S):
        while not shows(doctor_report := await doctor()):
            pass
    return doctor_report


async def until_said(doctor: Callable[[], Awaitable[dict[str, Any]]], text: str) -> None:
    await examined(
        doctor, lambda doctor_report: any(found.startswith(text) for found in texts(doctor_report))
    )


async def test_a_healthy_cluster_is_healthy_seen_from_everywhere() -> None:
    async with cluster(3) as nodes:
        for node in nodes:
            doctor_report = await examined(
                node.doctor, lambda doctor_report: bool(doctor_report["healthy"])
            )
            assert doctor_report["findings"] == []
            assert len(doctor_report["pairs"]) == 6
            assert all(
                pair["udp_ms"] >= 0 and pair["tcp_ms"] >= 0 for pair in doctor_report["pairs"]
            )
            (pool,) = doctor_report["pools"]
            assert (pool["examined"], pool["known"], pool["observers"]) == (3, 3, 3)


async def test_lesson_13_blocked_udp_is_said_by_the_doctor_the_status_and_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(3) as (one, two, three):
        block_udp(monkeypatch, two, [three.address])
        block_udp(monkeypatch, three, [two.address])
        await until_said(one.doctor, "UDP is blocked between n2 and n3, TCP works")
        await until(lambda: two.status()["pools"]["lan"]["udp_blocked"] == ["n3"])
        await until(lambda: three.status()["pools"]["lan"]["udp_blocked"] == ["n2"])
        assert any(
            "n2: UDP is blocked between this node and 'n3'" in record.getMessage()
            for record in caplog.records
        )


async def test_lesson_13_which_direction_is_blocked_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with cluster(3) as (one, two, three):
        block_udp(monkeypatch, two, [three.address])
        await until_said(
            one.doctor, "UDP from n2 to n3 is blocked, from n3 to n2 it passes, TCP works"
        )


async def test_a_clock_that_is_ahead_is_said_with_how_much() -> None:
    async with cluster(2) as (one, two), Node(configured("n3", one), _clocks=clocks_ahead) as three:
        await until_together(one, two, three)
        await until_said(one.doctor, "the clock of n3 is 4.2 s ahead of the others' median")


async def test_lesson_30_an_advertised_address_where_nobody_listens_is_said() -> None:
    nowhere = Address("127.0.0.1", 1)
    async with cluster(2) as (one, two), Node(configured("n3", one, advertise=nowhere)):
        await until(lambda: any(member.name == "n3" for member in one.members()))
        # its packets arrive, since it reaches the others
        await until(
            lambda: all(
                "n3" in node._running.replica.pools.lan.doctor._heard_s for node in (one, two)
            )
        )
        doctor_report = await examined(
            one.doctor, lambda doctor_report: codes_of("n3", doctor_report) == ["wrong_address"]
        )
        text = (
            "nobody reaches n3 at 127.0.0.1:1, the address that it tells, though its packets "
            "arrive at"
        )
        assert any(found.startswith(text) for found in texts(doctor_report))


async def test_both_pools_of_a_gateway_are_examined() -> None:
    async with Node(configured("g1", **GATEWAY)) as one:
        other = configured("g2", datacenter="dc2", join_wan=(str(one.wan_address),), **GATEWAY)
        async with Node(other) as two, Node(configured("n1", one)) as plain:
            await until_together(one, plain)
            await until(lambda: len(one.gateways()) == len(two.gateways()) == 2)
            await two.wait_settled(TIMEOUT_S)
            doctor_report = await examined(
                one.doctor, lambda doctor_report: texts(doctor_report) == []
            )
            assert sorted(
                (member["pool"], member["name"]) for member in doctor_report["members"]
            ) == [
                ("lan", "g1"),
                ("lan", "n1"),
                ("wan", "g1"),
                ("wan", "g2"),
            ]


async def test_the_round_trip_is_measured_by_who_has_it_and_estimated_from_coordinates() -> None:
    async with cluster(3) as (one, _, _):
        await until(
            lambda: all(
                (one._running.replica.pools.lan.membership.coordinates.of(name))
                for name in ("n2", "n3")
            )
        )
        own = await one.round_trip("n1", "n2")
        assert (own["measured_by"], own["pool"], own["note"]) == ("n1", "lan", "")
        assert own["measured_ms"] > 0
        assert own["estimate_ms"] > 0
        assert 0 <= own["estimate_error"] <= 1.5
        assert (await one.round_trip("n2", "n1"))["measured_by"] == "n1"
        others = await one.round_trip("n2", "n3")
        assert (others["from"], others["to"], others["measured_by"], others["note"]) == (
            "n2",
            "n3",
            "n2",
            "",
        )
        assert others["measured_ms"] > 0
        for names in (("n1", "nobody"), ("n1", "n1")):
            with pytest.raises(NotFoundError):
                await one.round_trip(*names)


@pytest.mark.parametrize("turns", [0, 1, 2, 10])
async def test_who_waits_for_the_doctor_is_told_when_the_node_stops(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(2) as (one, two):
        block_udp(monkeypatch, one, [two.address])
        waiting = asyncio.ensure_future(one.doctor())
        for _ in range(turns):
            await asyncio.sleep(0)
        await one.stop(leave=False)
        with pytest.raises(LocalError, match=r"stopped|does not run"):
            async with asyncio.timeout(TIMEOUT_S):
                await waiting


# -- API and commands ----------------------------------------------------------------------------


async def test_the_api_tells_what_the_node_finds_and_refuses_what_does_not_fit() -> None:
    listener = listen(LOOPBACK)
    async with (
        Node(configured("n1", http=Address(*listener.getsockname()))) as one,
        Node(configured("n2", one)) as two,
    ):
        server = ApiServer(one, listener)
        await server.start()
        try:
            await until_together(one, two)
            await until(
                lambda: one._running.replica.pools.lan.membership.round_trips.of("n2") is not None
            )
            async with AsyncClient(str(server.address)) as client:
                await examined(client.doctor, lambda doctor_report: bool(doctor_report["healthy"]))
                assert (await client.rtt("", "n2"))["from"] == "n1"
                member = next(
                    member
                    for member in (await client.document("/members"))["members"]
                    if member["name"] == "n2"
                )
                assert member["rtt_ms"] is None or member["rtt_ms"] > 0
                with pytest.raises(Exception, match="no pool of this node has both"):
                    await client.rtt("n1", "nobody")
                with pytest.raises(Exception, match="the parameter to is missing"):
                    await client._call("GET", "/rtt?from=n1")
                with pytest.raises(Exception, match="unknown query parameter"):
                    await client._call("GET", "/rtt?too=n1")
        finally:
            await server.stop()


# -- the commands --------------------------------------------------------------------------------

CHECKUP: dict[str, Any] = {
    "healthy": False,
    "findings": [
        {"code": "clock", "pool": "wan", "members": ["b"], "text": "the clock of b is wrong\x1b[0m"}
    ],
    "members": [
        {
            "name": "a",
            "pool": "wan",
            "self": True,
            "state": "alive",
            "udp_ms": None,
            "tcp_ms": None,
            "clock_offset_s": 0.0,
        }
        | {"standing": "settled", "gateway": True},
        {
            "name": "b",
            "pool": "wan",
            "self": False,
            "state": "alive",
            "udp_ms": None,
            "tcp_ms": 120.4,
            "clock_offset_s": 4.2,
        }
        | {"standing": None, "gateway": None},
    ],
    "pools": [{"pool": "wan", "examined": 64, "known": 1000, "observers": 60, "took_s": 5.04}],
}


class Answering:
    """Stands where a node would."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def __call__(self, url: str, question: Any) -> Any:
        return asyncio.run(question(self))

    async def doctor(self) -> Any:
        return self._answers["doctor"]

    async def rtt(self, frm: str, to: str) -> Any:
        return {"from": frm or "self", "to": to, "pool": "lan", **self._answers["rtt"]}


def command(patch: pytest.MonkeyPatch, *arguments: str, **answers: Any) -> tuple[int, str]:
    app = typer.Typer()
    for module in (doctor_module, rtt_module):
        patch.setattr(module, "ask", Answering(**answers))
        module.register(app)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout


def test_the_doctor_prints_who_is_there_and_what_is_wrong_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, said = command(monkeypatch, "doctor", doctor=CHECKUP)
    assert code == 1
    assert "! the clock of b is wrong\\x1b[0m (WAN pool)" in said
    assert "wan: looked at a sample of 64 of 1000 members, through the eyes of 60, in 5.0 s" in said
    assert re.search(r"^b +wan +alive +- +120 ms +\+4\.200 s +-", said, re.MULTILINE)
    assert said.endswith("\n1 finding\n")
    assert command(monkeypatch, "doctor", "-o", "json", doctor=CHECKUP) == (
        1,
        json.dumps(CHECKUP, indent=2) + "\n",
    )
    code, said = command(monkeypatch, "doctor", doctor={**CHECKUP, "healthy": True, "findings": []})
    assert (code, said.splitlines()[-1]) == (0, "healthy")


@pytest.mark.parametrize(
    ("names", "answer", "code", "said"),
    [
        (
            ("b",),
            (1.25, "self", 1.5, 0.21, ""),
            0,
            "1.2 ms measured by self; 1.5 ms estimated from coordinates, give or take 21 %",
        ),
        (
            ("b", "c"),
            (None, None, 80.0, 0.5, "b was busy"),
            0,
            "80.0 ms estimated from coordinates, give or take 50 %; b was busy",
        ),
        (("b", "c"), (None, None, None, None, ""), 1, "nothing is known yet"),
    ],
)
def test_rtt_says_what_was_measured_what_is_estimated_and_how_sure_that_is(
    names: tuple[str, ...],
    answer: tuple[Any, ...],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields = ("measured_ms", "measured_by", "estimate_ms", "estimate_error", "note")
    ends = " - ".join(names if len(names) == 2 else ("self", *names))
    assert command(monkeypatch, "rtt", *names, rtt=dict(zip(fields, answer, strict=True))) == (
        code,
        f"{ends} (lan): {said}\n",
    )


def test_without_a_node_both_are_unusable_with_exit_code_2() -> None:
    for arguments in (("doctor",), ("rtt", "b")):
        words = [sys.executable, "-m", "kvgossip", *arguments, "--url", "http://127.0.0.1:1"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "no node answers at http://127.0.0.1:1" in done.stderr
