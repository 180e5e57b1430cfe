"""The benchmarks still run, on a little data: their figures have the shape that they print, and
hold what holds at any size.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from argparse import ArgumentTypeError, Namespace
from itertools import count
from pathlib import Path

import msgspec
import pytest

from benchmarks import (
    agents,
    bad_links,
    breadth,
    canaries,
    clients,
    embedded,
    exchange,
    fanout,
    flooders,
    floods,
    http,
    load,
    locks,
    membership,
    memory,
    overload,
    paired,
    propagation,
    report,
    residue,
    servers,
    wait,
    watchers,
)
from benchmarks import (
    all as all_benchmarks,
)
from benchmarks.canaries_simulated import Shops
from benchmarks.kill import LostError
from benchmarks.report import Report, Table
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.store.symbols import checksum, places
from kvgossip.releases.target import share
from kvgossip.runtime.loop import run

PAGE = agents.ROOT / "docs" / "performance.md"

PINNED = pytest.mark.skipif(
    shutil.which("taskset") is None or (os.cpu_count() or 1) < 2,
    reason="needs taskset, and two processors",
)


def test_an_exchange_is_counted() -> None:
    found = exchange.measure_repair(300, [1, 20], rounds=1, numpy=True)
    tables, targets = exchange.report_repair(300, found)
    assert [row["changed"] for row in tables[0].rows] == [1, 20]
    for seen in found:
        assert seen["trips"] <= 2
        assert seen["bound"] < seen["beyond"]
        assert 0 <= seen["stale"] < seen["entries"]
    assert targets == {
        "1 changed: beyond is at most 1,000": True,
        "1 changed: trips is at most 2": True,
    }


def test_a_takeover_is_counted() -> None:
    found = exchange.measure_takeover(300, gets_per_s=50, numpy=True)
    tables, targets = exchange.report_takeover(300, found)
    assert found["entries"] == 300 * (len(exchange.key_of(0)) + 17 + agents.VALUE_BYTES)
    assert found["get_during"]["gets"] > 0
    assert len(tables[2].rows) == 3
    assert len(targets) == 5


def test_idle_nodes_are_counted() -> None:
    found = exchange.measure_idle(100, seconds=0.5, numpy=False)
    (table,), _ = exchange.report_idle([found])
    assert table.rows[0]["keys"] == 100
    assert set(found["kinds"]) <= {"Ping", "Ack", "Member", "Compare", "Differ"}


def test_the_lower_bound_is_that_of_the_published_tables() -> None:
    assert exchange.lower_bound(100) / 100 == pytest.approx(7.3, abs=0.05)


def test_memory_and_writes_are_measured() -> None:
    seen, writes = memory.measure_memory(200, 100), memory.measure_writes(200, 100, rounds=1)
    found = memory.report({"memory": seen, "writes": writes})
    assert seen["records"] > 117
    assert seen["key texts"] > 16
    assert seen["process"] > seen["data"]
    assert writes["store, with sketch"] > 0
    # libraries are shared by few keys here
    assert found.targets["a key takes at most 400 B"] is False


def test_the_cost_of_a_write_is_measured_by_the_number_of_members() -> None:
    row = breadth.measure(nodes=5, direct_fanout=128, loss=0.0, writes=5, seed=1)
    assert len(breadth.report([row]).tables) == 1
    assert (row["writes"], row["late"]) == (5, 0)
    assert 0 < row["last_ms"] <= row["max_ms"] < 1e3 * breadth.LATE_S
    assert row["frames"] > 0


def test_bad_links_are_avoided_by_a_choice_that_knows_them_and_by_no_other_afterwards() -> None:
    shipped = Membership.choose
    times_s, sent = bad_links.simulated(6, 1, "avoided", 0.5, 0.3, 3, 1)
    assert len(times_s) == 3
    assert sent > 0
    assert Membership.choose is shipped
    ways = bad_links.bad_ways(20, 0.1, 1)
    assert {(target, source) for source, target in ways} == set(ways)


def test_residue_is_measured_in_small_clusters_and_large_ones() -> None:
    cluster, sites = residue.measure_cluster(4, 2, 0.0, 5, 1), residue.measure_sites(50, 1, 5, 1)
    assert len(residue.report([cluster], [sites]).tables) == 2
    assert len(residue.report([], [sites]).tables) == 1
    assert (cluster["writes"], cluster["residue"]) == (5, 0.0)
    assert 0 < sites["residue"] < 1


@pytest.mark.netns
def test_membership_is_measured_on_real_agents_in_namespaces_of_their_own() -> None:
    why = membership.missing()
    if why:
        pytest.skip(why)
    options = Namespace(idle_s=1.0, kills=1, calm_s=0.5)
    found = membership.measure_apart("kvgossip", 3, options)
    assert membership.report([found]).targets == {}
    assert found["bytes_a_s"] > found["packets_a_s"] * 42 > 0
    assert found["pss_mb"] > 1
    assert 0 < found["first_s_median"] <= found["all_s_median"]


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (membership.SYSTEMS["kvgossip"].failed, b"n0: n12 at 10.0.0.2:7481 is dead"),
        (membership.SYSTEMS["serf"].alive, b"[INFO] serf: EventMemberJoin: n12 10.0.0.2"),
        (membership.SYSTEMS["serf"].failed, b"[INFO] serf: EventMemberFailed: n12 10.0.0.2"),
    ],
)
def test_the_logs_of_agents_say_who_is_there_and_who_failed(
    pattern: re.Pattern[bytes], line: bytes
) -> None:
    found = pattern.search(line)
    assert found is not None
    assert found[1] == b"n12"
    assert not pattern.search(line.replace(b"dead", b"alive").replace(b"Event", b"Other"))


def test_what_is_worse_than_serf_is_a_missed_target() -> None:
    ours = {"system": "kvgossip", "agents": 5, "bytes_a_s": 200.0, "all_s_median": 8.0}
    theirs = {"system": "serf", "agents": 5, "bytes_a_s": 300.0, "all_s_median": 7.0}
    targets = membership.report([ours, theirs]).targets
    assert list(targets.values()) == [True, False]
    assert "crash to all" in list(targets)[1]


async def test_watchers_are_weighed_and_all_hear() -> None:
    seen = await watchers.measure(watchers=20, rounds=1, prefixes=3)
    assert len(watchers.report(seen).targets) == 2
    assert 0 < seen["first ms"] <= seen["all ms"] == seen["all ms, max"]


async def test_writes_are_followed_to_the_watchers_of_other_nodes() -> None:
    seen = await propagation.measure(nodes=2, writes=3, calm_s=0.0)
    assert 0 < seen["p50 ms"] <= seen["p99 ms"] <= seen["max ms"]
    assert seen["healthz p50 ms"] > 0


def test_writes_that_wait_are_measured_beside_those_that_do_not() -> None:
    rows = wait.measure(nodes=2, writes=3, pause_s=0.0, calm_s=0.0)
    assert [row["wait"] for row in rows] == ["none", "majority", "all"]
    assert all(0 < row["p50 ms"] <= row["max ms"] for row in rows)


@PINNED
def test_loads_are_counted_to_the_last_request() -> None:
    server = http.Kvgossip(durable=True)
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


def test_overload_is_measured_and_what_is_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CAPACITY_S", "IDLE_S"):
        monkeypatch.setattr(overload, name, 0.1)
    found = run(overload.measure(Namespace(seconds=0.2, factor=2.0, slow=1)))
    assert found["load"]["wrong"] == []
    assert found["writes_acknowledged"] > 0
    assert overload.report(found).laws["no acknowledged write is lost"] is True
    kept = {load.key_of(1): ("v1", load.value_of(1)), load.key_of(2): ("v1", load.value_of(1))}
    overload.check_values({1: "v1"}, kept, "here")
    for lost in ({1: "v2"}, {2: "v1"}, {3: "v1"}):
        with pytest.raises(LostError, match="here: 1 of 1"):
            overload.check_values(lost, kept, "here")


@PINNED
def test_requests_of_a_load_that_speaks_http_are_counted() -> None:
    bare = [] if shutil.which("wrk") is None else ["aiohttp"]
    rows = http.measure([*bare, "kvgossip, clients"], seconds=1, rounds=1)
    found = http.report(rows, ["etcd is not there"])
    assert [(row["request"], row["server"]) for row in found.tables[0].rows] == [
        (method, kind) for method in ("GET", "PUT") for kind in (*bare, "kvgossip, clients")
    ]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert min(row["requests_per_s"], row["cpu_us"]) > 0
        assert ("x aiohttp" in row) == bool(bare)


async def test_a_load_that_sees_a_wrong_answer_fails() -> None:
    with agents.cluster(1) as (agent,), pytest.raises(SystemExit, match="404 Not Found"):
        await clients.load("kvgossip", agent.address[1], "GET", 0.5, 2, 3)


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
    if kind in fanout.PEERS and shutil.which(fanout.PEERS[kind][0]) is None:
        pytest.skip(f"{kind} is not installed")
    seen = await fanout.fanout(kind, watchers=5, rounds=2)
    assert 0 < seen["first_ms"] <= seen["last_ms"] <= seen["last_ms_max"]
    seen = await fanout.across(kind, nodes=2, writes=3)
    assert 0 < seen["p50_ms"] <= seen["max_ms"]
    (table,) = fanout.tables({"across": {kind: seen}}, Namespace(watchers=5, rounds=2, writes=3))
    assert table.rows[0]["server"] == kind


# -- inside a process ------------------------------------------------------------------------------


def test_reads_are_measured_beside_a_dict() -> None:
    skipped: list[str] = []
    rows = embedded.measure_reads(rounds=1, skipped=skipped)
    ns = {row["read"]: row["ns"] for row in rows}
    assert all(each > 0 for each in ns.values())
    assert ("redis-py GET, loopback" in ns) == (skipped == [])
    _, targets, _ = embedded.report_reads(rows)
    assert len(targets) == (1 if skipped else 2)


@pytest.mark.parametrize(
    ("kind", "processes"),
    [("members", "2 members, 0 followers"), ("followers", "1 members, 1 followers")],
)
def test_changes_are_followed_to_the_callbacks_of_other_processes(
    kind: str, processes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "SETTLE_S", 0.0)
    row = embedded.measure_latency(tmp_path, kind, processes=2, writes=3)
    assert row["processes"] == processes
    assert 0 < row["p50 ms"] <= row["p99 ms"] <= row["max ms"]
    assert embedded.report_latency([row])[2] == {f"{processes}: every change arrives": True}


def test_a_change_that_a_process_misses_breaks_a_law() -> None:
    row = embedded.latency_row("members", ["member"] * 2, 2, [[0.001, 0.7], [0.002]])
    assert (row["missed"], row["max ms"]) == (1, 700.0)
    _, targets, laws = embedded.report_latency([row])
    assert list(laws.values()) == [False]
    assert list(targets.values()) == [True, False]


def test_a_start_from_the_disk_and_what_a_process_takes_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "SETTLE_S", 0.0)
    run(embedded.fill(tmp_path / "data", 20))
    row = embedded.measure_start(tmp_path, rounds=1)
    assert min(row.values()) > 0
    rows = embedded.measure_cost(tmp_path, tmp_path / "data", keys=20, seconds=0.1)
    assert [row["process"] for row in rows] == [embedded.BARE, "member", "follower"]
    above = {row["process"]: row["above the bare"] for row in rows}
    assert 0 == above[embedded.BARE] < above["follower"] < above["member"]
    assert len(embedded.report_cost(rows)[1]) == 2


def test_workers_that_hear_of_changes_and_are_restarted_are_counted() -> None:
    row = servers.measure(servers.Spawned, changes=2, restarts=1)
    assert (row["processes"], row["members"], row["restarts"]) == (4, 1, 1)
    assert (row["dead names"], row["waiting tombstones"]) == (0, 0)
    assert list(servers.report([row], {}).laws.values())[1:] == [True, True]


def test_a_worker_that_hears_of_nothing_and_a_name_that_is_left_break_laws() -> None:
    heard = [{1: 0.001, 2: 0.03, 3: 0.01, 4: 0.01}, {1: 0.001, 2: 0.02, 3: 0.01}]
    row = servers.row_of(servers.Spawned, heard, [1, 2], restarts=1, dead=1, tombstones=0)
    assert (row["missed"], row["p50 ms"], row["members"]) == (1, 30.0, 2)
    found = servers.report([row], {servers.CHECK: True})
    assert list(found.laws.values()) == [True, False, False, False]
    assert list(found.targets.values()) == [True]


@pytest.mark.parametrize("members", [10, 50])
def test_a_bad_canary_of_simulated_members_is_taken_back_by_itself_and_names_its_refusers(
    members: int,
) -> None:
    trial = Shops(1, members, canaries.LOSS, share(canaries.SHARE)).trial()
    assert 0 < len(trial.hits) < members
    assert trial.refused
    assert set(trial.refused) <= set(trial.hits)
    assert trial.shown == ()
    # virtual time: the same on any machine
    assert 0 < trial.stopped_s <= canaries.STOPPED_S
    assert trial.stopped_s <= trial.back_s


def test_a_bad_canary_of_processes_is_taken_back_and_a_rollback_reaches_all(
    tmp_path: Path,
) -> None:
    row = canaries.measure_real(tmp_path, members=2)
    assert (row["hit"], row["refused"], row["showed it"]) == (1, 1, 0)
    rollback = canaries.measure_rollback(tmp_path, processes=3, rounds=1)
    assert rollback["max s"] > 0
    found = canaries.report([row], rollback)
    assert list(found.laws.values()) == [True, True]
    shows = canaries.report([{**row, "refused": 0, "showed it": 1}], rollback)
    assert list(shows.laws.values()) == [False, False]


# -- locks and floods ------------------------------------------------------------------------------


def test_locks_are_compared_with_none_round_by_round() -> None:
    plain = [{"requests_per_s": 100.0, "cpu_us": 10.0}, {"requests_per_s": 80.0, "cpu_us": 12.0}]
    token = [{"requests_per_s": 90.0, "cpu_us": 20.0}, {"requests_per_s": 80.0, "cpu_us": 12.0}]
    row = locks.ratios(token, plain)
    assert row == {"x plain, requests": 0.95, "x plain, cpu": 0.75, "least": 0.5, "most": 1.0}
    found = locks.report([{"GET with": "plain"}, {"GET with": "token", **row}])
    assert found.targets == {"a GET with token: at least 0.95 of the plain figure": False}


@PINNED
@pytest.mark.parametrize("kind", ["partials", "reflections"])
def test_the_clients_of_a_flooded_node_are_measured(kind: str) -> None:
    row = floods.measure(kind, seconds=0.5, calm_s=0.2)
    found = floods.report([row], 0.5)
    assert row["sent"] > 0
    assert row["requests"] > row["failed"]
    assert 0 < row["flood p99 ms"] <= row["max ms"]
    assert found.laws[f"{kind}: never declared dead"] is True
    assert len(found.targets) == 2


def test_a_made_up_sketch_is_peeled_one_fingerprint_a_round() -> None:
    pytest.importorskip("numpy")
    links, length = flooders.chain(500, 20), 500
    assert len(links) == 20
    sums, checks = flooders.made_up(links, length)
    found = []
    while alone := [
        sum_ for sum_, check in zip(sums, checks, strict=True) if is_alone(sum_, check)
    ]:
        (fingerprint,) = dict.fromkeys(alone)
        found.append(fingerprint)
        for place in places(fingerprint, length):
            sums[place] ^= fingerprint
            checks[place] ^= checksum(fingerprint)
    assert found == [fingerprint for fingerprint, _ in links]


def is_alone(sum_: int, check: int) -> bool:
    return sum_ != 0 and checksum(sum_) == check


def test_only_this_machine_is_flooded() -> None:
    assert flooders.loopback("127.0.0.1:7481").port == 7481
    for text in ("10.0.0.1:7481", "example:7481", "127.0.0.1:x"):
        with pytest.raises(ArgumentTypeError, match="no address of this machine"):
            flooders.loopback(text)


# -- agents ----------------------------------------------------------------------------------------


def test_what_is_measured_is_an_agent_on_the_allocator_of_the_system(tmp_path: Path) -> None:
    with agents.cluster(2, folder=tmp_path, parameters={"zone": "z9"}) as (first, second):
        command = Path(f"/proc/{first.pid}/cmdline").read_bytes().split(b"\0")
        assert command[1:4] == [b"-m", b"kvgossip", b"agent"]
        assert b"PYTHONMALLOC=malloc" in Path(f"/proc/{first.pid}/environ").read_bytes()
        assert first.address != second.address
        agents.fill(first.address, 300)
        assert agents.cpu_s(first.pid) > 0
        assert agents.resident_bytes(first.pid) >= agents.pss_bytes(first.pid, "Pss_Anon") > 0
    with pytest.raises(agents.AgentError, match="does not run"):
        _ = first.pid


def test_an_agent_runs_the_checkout_that_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "kvgossip").mkdir()
    (tmp_path / "kvgossip" / "__init__.py").touch()
    (tmp_path / "kvgossip" / "__main__.py").write_text("raise SystemExit(7)")
    agent = agents.Agent("n1", tree=tmp_path)
    with pytest.raises(agents.AgentError, match="exit code 7 before it was serving"):
        agent.start()


def test_agents_are_configured_by_their_benchmark_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVGOSSIP_HTTP", "no address")
    kept = [name for name in agents.environment(agents.ROOT, {}) if "KVGOSSIP" in name]
    # but that a first agent founds its cluster at once
    assert kept == ["KVGOSSIP_FOUNDING_S"]
    assert agents.environment(agents.ROOT, {"rumor_k": 2})["KVGOSSIP_RUMOR_K"] == "2"


# -- reports ---------------------------------------------------------------------------------------

FOUND = Report(
    "wait",
    [Table("times", [{"of": "one", "ms": 1234.5, "count": 12345}, {"of": "two", "ms": 0.01234}])],
    laws={"nothing is lost": True},
    targets={"soon": False},
    skipped=["etcd is not installed"],
)


def test_a_report_is_the_same_after_json_and_readable_before_it() -> None:
    assert report.from_json(report.as_json(FOUND)) == FOUND
    for text in ("{}", '{"benchmark": "x", "tables": [{"title": "t", "rows": [1]}]}'):
        with pytest.raises(msgspec.DecodeError):
            report.from_json(text)
    text = report.as_text(FOUND)
    assert "one    1,234   12,345" in text.replace("1,235", "1,234")
    for line in ("nothing is lost: yes", "soon: MISSED", "not measured: etcd is not installed"):
        assert line in text
    assert "| two | 0.0123 |  |" in report.as_markdown(FOUND)


def test_a_broken_law_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    report.finish(FOUND, json=True)
    assert report.from_json(capsys.readouterr().out) == FOUND
    with pytest.raises(SystemExit, match="1"):
        report.finish(Report("x", [], laws={"nothing is lost": False}), json=False)
    assert "nothing is lost: NO" in capsys.readouterr().out


def test_peers_that_are_not_there_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    skipped: list[str] = []
    assert not report.is_there("no-such-command", "a-package", skipped)
    assert not report.is_there("no-such-command", "a-package", skipped)
    assert report.is_there("sh", "dash", skipped)
    assert len(skipped) == len(capsys.readouterr().err.splitlines()) == 1


# -- all of them -----------------------------------------------------------------------------------


def test_every_benchmark_is_among_all_of_them_and_has_a_place_on_the_page() -> None:
    machinery = {
        "__init__",
        "agents",
        "all",
        "clients",
        "console_process",
        "embedded_process",
        "epidemics",
        "flooders",
        "hostile",
        "load",
        "merging",
    }
    machinery |= {"canaries_simulated", "paired", "report", "servers_process"}
    names = {file.stem for file in (agents.ROOT / "benchmarks").glob("*.py")} - machinery
    assert names == set(all_benchmarks.QUICK)
    page = PAGE.read_text()
    for name in names:
        all_benchmarks.parts_of(page, name)
    assert set(re.findall(r"<!-- benchmarks\.(\w+):", page)) == names


def test_a_page_gets_the_figures_of_what_ran_and_keeps_the_rest() -> None:
    begin, end = all_benchmarks.begin_of("wait"), all_benchmarks.end_of("wait")
    page = f"before\n{begin}\nold\n{end}\nafter\n"
    once = all_benchmarks.written(page, {"wait": FOUND}, "Of commit x.")
    assert once.startswith(f"before\n{begin}\nOf commit x.\n\n**times**")
    assert once.endswith(f"Not measured: etcd is not installed.\n{end}\nafter\n")
    assert all_benchmarks.written(once, {"wait": FOUND}, "Of commit x.") == once
    with pytest.raises(all_benchmarks.PageError, match="lacks the markers of kill"):
        all_benchmarks.written(page, {"kill": FOUND}, "")


def all_of(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.all", *options]
    return subprocess.run(command, cwd=agents.ROOT, capture_output=True, text=True, check=False)


def test_all_of_them_run_in_turn_and_print_of_what_the_figures_are() -> None:
    done = all_of("--quick", "--only", "residue", "seal")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Of commit ")
    assert "processors (" in done.stdout
    assert done.stdout.index("== residue") < done.stdout.index("== seal")
    assert "seal: 2 of 2" in done.stderr


def test_bad_options_of_all_are_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("no markers")
    for options, error in (
        (("--quick", "--write", "x"), "--quick measures nothing that is worth writing"),
        (("--write", str(tmp_path / "page.md")), "lacks the markers of http"),
        (("--write", str(tmp_path / "none.md")), "No such file"),
        (("--only", "none"), "invalid choice"),
    ):
        done = all_of(*options)
        assert done.returncode == 2
        assert error in done.stderr


def test_a_benchmark_that_fails_is_told_and_does_not_stop_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outcomes = {
        "wait": all_benchmarks.Outcome(None, "it ended with exit code 3 and no report"),
        "seal": all_benchmarks.Outcome(FOUND, ""),
    }
    page = tmp_path / "page.md"
    old = "\n".join(
        f"{all_benchmarks.begin_of(name)}\nold\n{all_benchmarks.end_of(name)}" for name in outcomes
    )
    page.write_text(old)
    monkeypatch.setattr(all_benchmarks, "run", lambda name, options: outcomes[name])
    words = ["all", "--only", "wait", "seal", "--write", str(page)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        all_benchmarks.main()
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert "wait FAILED: it ended with exit code 3" in shown.out
    assert "== seal" in shown.out
    assert page.read_text().count("\nold\n") == 1


def test_what_is_no_report_is_a_failure() -> None:
    outcome = all_benchmarks.run("seal", ["--rounds", "none"])
    assert outcome.report is None
    assert "exit code 2 and no report" in outcome.failure


# -- pairs -----------------------------------------------------------------------------------------


def pair_options(tmp_path: Path, **others: object) -> Namespace:
    tree = agents.ROOT
    small = {"pairs": 1, "requests": 200, "entries": 500, "keys": 300, "limit": 1000.0}
    small |= {"durable_requests": 200, "writes": 20, "nodes": 2}
    return Namespace(
        **{"before": tree, "after": tree, "only": paired.NAMES, "dir": tmp_path, **small, **others}
    )


def test_two_checkouts_are_compared(tmp_path: Path) -> None:
    names = ["put", "merge", "restart"]  # a GET is measured as a PUT is
    found = paired.measure(pair_options(tmp_path, only=names))
    assert [row["of"].split(",")[0] for row in found.tables[0].rows] == names
    for row in found.tables[0].rows:
        assert min(row["before"], row["after"], float(row["ratio"])) > 0
    assert found.broken == []
    assert list(tmp_path.iterdir()) == []


def test_what_several_nodes_do_for_a_put_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "LATER_S", 0.0)
    monkeypatch.setattr(paired, "CLUSTER_STEPS", 2)
    monkeypatch.setitem(paired.NODES, "durable3", 2)
    found = paired.measure(pair_options(tmp_path, only=["durable3", "propagation"]))
    assert [row["of"] for row in found.tables[0].rows] == [
        "durable3, us a PUT, 2 nodes",
        "propagation, us a PUT, 2 nodes",
    ]
    assert all(float(row["ratio"]) > 0 for row in found.tables[0].rows)
    assert list(tmp_path.iterdir()) == []


def test_a_load_is_a_whole_number_of_rounds(tmp_path: Path) -> None:
    options = pair_options(tmp_path, requests=1000, durable_requests=1, writes=15)
    loads = {name: paired.load_of(name, options) for name in ("get", "durable", "durable3")}
    assert {name: load.requests for name, load in loads.items()} == {
        "get": 2 * paired.STEPS * paired.CONNECTIONS,
        "durable": paired.STEPS * paired.CONNECTIONS,
        "durable3": paired.CLUSTER_STEPS * paired.CONNECTIONS,
    }
    assert [load.nodes for load in loads.values()] == [1, 1, 3]
    assert [load.durable for load in loads.values()] == [False, True, True]
    assert paired.load_of("propagation", options).requests == 2 * paired.CLUSTER_STEPS
    with pytest.raises(ArgumentTypeError, match="nothing propagates among fewer than 2"):
        paired.several("1")


def test_what_is_slower_than_the_limit_is_broken(tmp_path: Path) -> None:
    found = paired.measure(pair_options(tmp_path, only=["merge"], limit=0.001))
    assert len(found.broken) == 1


def test_turns_alternate_and_ratios_are_of_the_sums() -> None:
    order = []

    def step(name: str, seconds: float) -> paired.Step:
        return lambda: order.append(name) or seconds  # type: ignore[func-returns-value]

    pair = paired.alternate([step("b", 2.0), step("a", 3.0)], 4)
    assert "".join(order) == "baabbaab"
    assert pair == (8.0, 12.0)
    assert pair.ratio == 1.5


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"is no checkout: it has no kvgossip/__init__\.py"):
        paired.checkout(str(tmp_path))
    assert paired.checkout(str(agents.ROOT)) == agents.ROOT
    for text in ("0", "-1", "x"):
        with pytest.raises(ArgumentTypeError, match="not a number of 1 or more"):
            paired.positive(text)


def test_what_is_merged_is_of_the_checkout_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "kvgossip").mkdir()
    (tmp_path / "kvgossip" / "__init__.py").write_text("raise SystemExit('not this one')")
    with pytest.raises(agents.AgentError, match="makes no rumors"):
        paired.make_rumors(tmp_path, 10, 10, tmp_path / "rumors")
