"""The benchmarks still run, on a little data: their figures have the shape that they print, and
hold what holds at any size."""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from itertools import count

import pytest

from benchmarks import (
    clients,
    exchange,
    fanout,
    http,
    load,
    membership,
    memory,
    overload,
    residue,
    watchers,
)
from benchmarks.kill import LostError
from kvgossip.runtime.loop import run

PINNED = pytest.mark.skipif(
    shutil.which("taskset") is None or (os.cpu_count() or 1) < 2,
    reason="needs taskset, and two processors",
)


def test_an_exchange_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    found = exchange.measure_repair(300, [1, 20], rounds=1, numpy=True)
    exchange.print_repair(300, found)
    assert [seen["changed"] for seen in found] == [1, 20]
    for seen in found:
        assert seen["trips"] <= 2
        assert seen["bound"] < seen["beyond"]
        assert 0 <= seen["stale"] < seen["entries"]
    assert "MISSED" not in capsys.readouterr().out


def test_a_takeover_is_counted() -> None:
    found = exchange.measure_takeover(300, gets_per_s=50, numpy=True)
    exchange.print_takeover(300, found)
    assert found["entries"] == 300 * (len(exchange.key_of(0)) + 17 + exchange.VALUE_BYTES)
    assert found["get_during"]["gets"] > 0


def test_idle_nodes_are_counted() -> None:
    found = exchange.measure_idle(100, seconds=0.5, numpy=False)
    exchange.print_idle(100, [found])
    assert set(found["kinds"]) <= {"Ping", "Ack", "Member", "Compare", "Differ"}


def test_the_lower_bound_is_that_of_the_published_tables() -> None:
    assert exchange.lower_bound(100) / 100 == pytest.approx(7.3, abs=0.05)


def test_memory_and_writes_are_measured() -> None:
    options = Namespace(keys=200, value_bytes=100, rounds=1, without_numpy=False)
    seen, writes = memory.measure_memory(options), memory.measure_writes(options)
    memory.print_memory(seen)
    memory.print_writes(writes)
    assert seen["records"] > 117
    assert seen["keys"] > 16
    assert writes["store_with"] > 0


def test_residue_is_measured_in_small_clusters_and_large_ones() -> None:
    cluster, sites = residue.measure_cluster(4, 2, 0.0, 5, 1), residue.measure_sites(50, 1, 5, 1)
    residue.print_rows([cluster])
    residue.print_rows([sites])
    assert (cluster["writes"], cluster["residue"]) == (5, 0.0)
    assert 0 < sites["residue"] < 1


@pytest.mark.netns
def test_membership_is_measured_on_real_agents_in_namespaces_of_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    why = membership.missing(["kvgossip"])
    if why:
        pytest.skip(why)
    found = membership.measure_apart("kvgossip", 3, Namespace(idle_s=1.0, kills=1, calm_s=0.5))
    membership.print_found([found])
    assert found["bytes_a_s"] > found["packets_a_s"] * 42 > 0
    assert found["pss_mb"] > 1
    assert 0 < found["first_s_median"] <= found["all_s_median"]
    assert "MISSED" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("system", "alive", "failed"),
    [
        ("kvgossip", b"n0: n12 at 10.0.0.2:7481 is alive", b"n0: n12 at 10.0.0.2:7481 is dead"),
        (
            "serf",
            b"[INFO] serf: EventMemberJoin: n12 10.0.0.2",
            b"[INFO] serf: EventMemberFailed: n12 10.0.0.2",
        ),
    ],
)
def test_the_logs_of_agents_say_who_is_there_and_who_failed(
    system: str, alive: bytes, failed: bytes
) -> None:
    known = membership.SYSTEMS[system]
    for pattern, line, other in ((known.alive, alive, failed), (known.failed, failed, alive)):
        found = pattern.search(line)
        assert found is not None
        assert found[1] == b"n12"
        assert not pattern.search(other)


def test_what_is_worse_than_serf_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    ours = {
        "system": "kvgossip",
        "agents": 5,
        "cpu_percent": 9.0,
        "bytes_a_s": 200.0,
        "all_s_median": 8.0,
    }
    theirs = {
        "system": "serf",
        "agents": 5,
        "cpu_percent": 1.0,
        "bytes_a_s": 300.0,
        "all_s_median": 7.0,
    }
    membership.print_found([ours, theirs])
    assert [
        line.split(":")[0].strip()
        for line in capsys.readouterr().out.splitlines()
        if "MISSED" in line
    ] == ["crash to all, s"]


async def test_watchers_are_weighed_and_all_hear() -> None:
    seen = await watchers.measure(watchers=20, rounds=1, prefixes=3)
    watchers.show(seen)
    assert 0 < seen["first_ms"] <= seen["all_ms"] == seen["all_ms_max"]


@PINNED
def test_loads_are_counted_to_the_last_request() -> None:
    server = http.Own("kvgossip durable")
    try:
        closed, opened = (
            load.Load(("127.0.0.1", server.port), iter(numbers))
            for numbers in (range(40), count(100))
        )
        ledger = closed.closed(4, 60.0)
        assert sorted(ledger.acked) == list(range(40))
        assert len(ledger.answered_s) == 40 + ledger.counts["read"]
        ledger = opened.open(300, 0.2)
        assert ledger.counts["puts"] + ledger.counts["gets"] == len(ledger.answered_s) + sum(
            ledger.counts[kind] for kind in ("refused", "closed", "not_connected")
        )
        assert ledger.wrong == []
        for each in (closed, opened):
            each.close()
    finally:
        server.stop()


def test_overload_is_measured_and_what_is_lost_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CAPACITY_S", "IDLE_S"):
        monkeypatch.setattr(overload, name, 0.1)
    found = run(overload.measure(Namespace(seconds=0.2, factor=2.0, slow=1)))
    overload.show(found)
    assert found["load"]["wrong"] == []
    assert found["writes_acknowledged"] > 0
    assert "no acknowledged write is lost: yes" in capsys.readouterr().out
    kept = {load.key_of(1): ("v1", load.value_of(1)), load.key_of(2): ("v1", load.value_of(1))}
    overload.check_values({1: "v1"}, kept, "here")
    for lost in ({1: "v2"}, {2: "v1"}, {3: "v1"}):
        with pytest.raises(LostError, match="here: 1 of 1"):
            overload.check_values(lost, kept, "here")


@PINNED
def test_requests_of_a_load_that_speaks_http_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kinds = [
        kind
        for kind in ("aiohttp", "kvgossip, clients")
        if kind != "aiohttp" or shutil.which("wrk")
    ]
    found = http.measure(kinds, seconds=1, rounds=1)
    for by_kind in found.values():
        assert list(by_kind) == sorted(kinds)
        for seen in by_kind.values():
            assert set(seen) == {"requests_per_s", "p50_ms", "p99_ms", "cpu_us"}
            assert 0 < seen["p50_ms"] <= seen["p99_ms"]
    if "aiohttp" in kinds:
        http.print_figures(found)
        assert "kvgossip, clients" in capsys.readouterr().out


def test_answers_of_http_and_of_nats_are_told_apart_to_the_byte() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
    ok, told, headed = (
        b"+OK\r\n",
        b"MSG _INBOX.1 1  3\r\nabc\r\n",
        b"HMSG _INBOX.1 1  12 14\r\nNATS/1.0\r\n\r\nab\r\n",
    )
    for take, answer in (
        (clients.take_http, reply),
        (clients.take_nats, told),
        (clients.take_nats, headed),
    ):
        assert [take(answer[:size])[0] for size in range(len(answer))] == [0] * len(answer)
        assert take(answer + b"more") == (len(answer), answer)
    assert clients.take_nats(ok + told) == (len(ok), None)
    assert clients.take_nats(b"-ERR 'no'\r\n")[1] == b"-ERR 'no'\r\n"


@PINNED
@pytest.mark.parametrize("kind", ["kvgossip", "redis"])
async def test_watchers_on_one_node_and_on_others_hear_of_each_write(kind: str) -> None:
    if shutil.which(fanout.COMMANDS.get(kind, "taskset")) is None:
        pytest.skip(f"{kind} is not installed")
    seen = await fanout.fanout(kind, watchers=5, rounds=2)
    assert 0 < seen["first_ms"] <= seen["last_ms"] <= seen["last_ms_max"]
    seen = await fanout.across(kind, nodes=2, writes=3)
    assert 0 < seen["p50_ms"] <= seen["max_ms"]
    fanout.print_found({"across": {kind: seen}}, Namespace(watchers=5, rounds=2, writes=3))
