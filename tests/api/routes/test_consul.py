"""/v1, Consul's API, byte by byte: shapes, headers, blocking queries, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from kvgossip.api import listings as listings_module
from kvgossip.api.routes import consul as consul_module
from kvgossip.api.routes.consul_form import modify_index
from kvgossip.errors import StorageError
from kvgossip.protocol.model.entry import FLAGS_MAX, Version, entry_of, make_record
from tests.api.serving import NOBODY, VALUE_BYTES_MAX, Reply, Serve, Served

TIMEOUT_S = 30.0


def index_of(reply: Reply) -> int:
    return int(reply.headers["x-consul-index"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.005)


def waiting(served: Served) -> int:
    return int(served.server._watching.statistics()["polls"])


async def blocked(served: Served, target: str) -> asyncio.Task[Reply]:
    """A blocking query, once it waits."""
    before = waiting(served)
    task = asyncio.create_task(served.call("GET", target))
    await until(lambda: waiting(served) > before)
    return task


# -- shapes --------------------------------------------------------------------------------------


async def test_an_entry_has_consuls_shape(served: Served) -> None:
    put = await served.call("PUT", "/v1/kv/a/b?flags=18446744073709551615", b"\x00\xff")
    assert (put.status, put.body, put.headers["content-type"]) == (200, b"true", "application/json")
    entry = served.node.entry("a/b")
    assert entry is not None
    assert (entry.value, entry.flags) == (b"\x00\xff", FLAGS_MAX)
    modified = modify_index(entry)
    expected = f'[{{"LockIndex":0,"Key":"a/b","Flags":18446744073709551615,"Value":"AP8=","CreateIndex":{modified},"ModifyIndex":{modified}}}]'
    for target in (
        "/v1/kv/a/b",
        "/v1/kv/a/b?recurse=",
        "/v1/kv/a?recurse",
        "/v1/kv/?recurse",
        "/v1/kv?recurse=1",
    ):
        got = await served.call("GET", target)
        assert (got.status, got.body.decode(), got.headers["content-type"]) == (
            200,
            expected,
            "application/json",
        )
        assert index_of(got) >= modified
    head = await served.call("HEAD", "/v1/kv/a/b")
    assert (head.status, head.body, head.headers["content-length"]) == (
        200,
        b"",
        str(len(expected)),
    )


async def test_every_answer_has_consuls_headers_and_a_missing_key_has_no_body(
    served: Served,
) -> None:
    await served.node.put("a", b"1")
    for target, status in (
        ("/v1/kv/a", 200),
        ("/v1/kv/b", 404),
        ("/v1/kv/b?recurse", 404),
        ("/v1/kv/b?keys", 404),
        ("/v1/kv/b?raw", 404),
    ):
        got = await served.call("GET", target)
        assert got.status == status
        assert (got.body == b"") == (status == 404)
        assert index_of(got) > 0
        assert got.headers["x-consul-knownleader"] == "true"
        assert int(got.headers["x-consul-lastcontact"]) >= 0
        assert got.headers["x-consul-effective-consistency"] == "stale"
        assert got.headers["kv-settled"] == "true"


async def test_a_raw_value_comes_as_it_is_and_is_nothing_that_a_browser_would_run(
    served: Served,
) -> None:
    await served.node.put("a", b"<script>", content_type="text/html")
    for target in ("/v1/kv/a?raw", "/v1/kv/a?raw="):
        got = await served.call("GET", target)
        assert (got.status, got.body, got.headers["content-type"]) == (
            200,
            b"<script>",
            "text/plain",
        )
        assert got.headers["content-security-policy"] == "sandbox"


async def test_keys_are_listed_up_to_the_separator(served: Served) -> None:
    for key in ("a", "b/1/x", "b/1/y", "b/2", "b/", "c"):
        await served.node.put(key, b"1")
    for target, names in (
        ("/v1/kv/?keys", ["a", "b/", "b/1/x", "b/1/y", "b/2", "c"]),
        ("/v1/kv/?keys&separator=/", ["a", "b/", "c"]),
        ("/v1/kv/b/?keys&separator=%2F", ["b/", "b/1/", "b/2"]),
        ("/v1/kv/b?keys=&recurse=&separator=", ["b/", "b/1/x", "b/1/y", "b/2"]),
        ("/v1/kv/b/?keys&separator=1/", ["b/", "b/1/", "b/2"]),
    ):
        got = await served.call("GET", target)
        assert (got.status, got.json) == (200, names)


async def test_an_empty_store_has_no_keys_but_no_key_is_missing(served: Served) -> None:
    got = await served.call("GET", "/v1/kv/?keys")
    assert (got.status, got.body) == (200, b"[]")
    assert (await served.call("GET", "/v1/kv/?recurse")).status == 404


async def test_a_long_list_is_that_of_one_moment_although_others_have_their_turns(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings_module, "PAGE_KEYS", 2)
    for number in range(9):
        await served.node.put(f"k/{number}", b"old")
    turn, at_once = asyncio.sleep, 0

    async def write_meanwhile(seconds: float) -> None:
        nonlocal at_once
        if not at_once:
            at_once += 1
            await served.node.put("k/0", b"new")
            await served.node.delete("k/1")
            await served.node.put("k/00", b"new")
            await served.node.put("k/8", b"new")
        await turn(seconds)

    monkeypatch.setattr(asyncio, "sleep", write_meanwhile)
    got = await served.call("GET", "/v1/kv/k/?recurse")
    assert at_once
    assert {item["Key"]: item["Value"] for item in got.json} == {
        **{f"k/{number}": "b2xk" for number in range(2, 8)},
        **dict.fromkeys(("k/0", "k/00", "k/8"), "bmV3"),
    }
    assert [item["Key"] for item in got.json] == sorted(item["Key"] for item in got.json)
    assert max(item["ModifyIndex"] for item in got.json) <= index_of(got)


async def test_who_is_in_the_cluster_is_answered_in_consuls_words(served: Served) -> None:
    address = str(served.node.address)
    assert (await served.call("GET", "/v1/status/leader")).json == address
    assert (await served.call("GET", "/v1/status/peers")).json == [address]
    assert (await served.call("GET", "/v1/catalog/datacenters")).json == [
        served.node.config.datacenter
    ]
    (member,) = (await served.call("GET", "/v1/agent/members")).json
    assert (member["Name"], member["Status"], f"{member['Addr']}:{member['Port']}") == (
        "n1",
        1,
        address,
    )
    agent = (await served.call("GET", "/v1/agent/self")).json
    assert (agent["Member"], agent["Config"]["NodeName"]) == (member, "n1")
    assert (await served.call("GET", "/v1/agent/members?wan=1")).json == []


# -- writes --------------------------------------------------------------------------------------


async def test_cas_is_checked_on_this_node_and_the_answer_says_so(served: Served) -> None:
    async def put(cas: int, value: bytes) -> bytes:
        reply = await served.call("PUT", f"/v1/kv/a?cas={cas}", value)
        assert (reply.status, reply.headers["kv-condition-scope"]) == (200, "node")
        return reply.body

    assert await put(1, b"0") == b"false"
    assert await put(0, b"1") == b"true"
    assert await put(0, b"2") == b"false"
    (item,) = (await served.call("GET", "/v1/kv/a")).json
    assert await put(item["ModifyIndex"], b"3") == b"true"
    assert await put(item["ModifyIndex"], b"4") == b"false"
    assert served.node.get("a") == b"3"
    assert (await served.call("DELETE", f"/v1/kv/a?cas={item['ModifyIndex']}")).body == b"false"
    assert (await served.call("DELETE", "/v1/kv/a?cas=0")).body == b"false"
    (item,) = (await served.call("GET", "/v1/kv/a")).json
    assert (await served.call("DELETE", f"/v1/kv/a?cas={item['ModifyIndex']}")).body == b"true"
    assert served.node.get("a") is None
    assert (await served.call("DELETE", "/v1/kv/a?cas=7")).body == b"true"
    assert "kv-condition-scope" not in (await served.call("DELETE", "/v1/kv/a")).headers


async def test_of_many_who_create_a_key_by_cas_one_succeeds(served: Served) -> None:
    replies = await asyncio.gather(
        *(served.call("PUT", "/v1/kv/a?cas=0", b"%d" % number) for number in range(20))
    )
    (winner,) = (number for number, reply in enumerate(replies) if reply.body == b"true")
    assert served.node.get("a") == b"%d" % winner


async def test_what_is_there_already_is_not_written_again(served: Served) -> None:
    await served.call("PUT", "/v1/kv/a?flags=7", b"1")
    index, version = served.node.feed.index, served.node.entry("a")
    same = await served.call("PUT", "/v1/kv/a?flags=7", b"1")
    assert (same.body, served.node.feed.index, served.node.entry("a")) == (b"true", index, version)
    for target, value in (
        ("/v1/kv/a?flags=8", b"1"),
        ("/v1/kv/a?flags=8", b"2"),
        ("/v1/kv/a", b"2"),
    ):
        assert (await served.call("PUT", target, value)).body == b"true"
        assert served.node.feed.index > index
        index = served.node.feed.index


async def test_a_value_that_would_expire_is_written_again_to_stay(served: Served) -> None:
    await served.node.put("a", b"1", ttl_s=3600)
    assert (await served.call("PUT", "/v1/kv/a", b"1")).body == b"true"
    entry = served.node.entry("a")
    assert entry is not None
    assert entry.expires_ms is None


async def test_what_is_not_written_again_must_be_on_the_disk_before_the_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.call("PUT", "/v1/kv/a", b"1")
    failing = asyncio.get_running_loop().create_future()
    failing.set_exception(StorageError("the disk is gone"))
    monkeypatch.setattr(served.node, "kept", lambda: failing)
    for method, target in (("PUT", "/v1/kv/a"), ("DELETE", "/v1/kv/absent")):
        failed = await served.call(method, target, b"1" if method == "PUT" else None)
        assert (failed.status, failed.json["error"]) == (500, "the disk is gone")


async def test_a_recursive_delete_takes_the_prefix_and_nothing_else(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consul_module, "DELETES_AT_A_TIME", 3)
    for key in ("a", "b/1", "b/2", "b/3", "b/4", "b/5", "c"):
        await served.node.put(key, b"1")
    assert (await served.call("DELETE", "/v1/kv/b/?recurse")).body == b"true"
    assert [entry.key for entry in served.node.list()] == ["a", "c"]
    assert (await served.call("DELETE", "/v1/kv/b/?recurse")).body == b"true"
    assert (await served.call("DELETE", "/v1/kv/?recurse")).body == b"true"
    assert served.node.list() == []


async def test_flags_travel_and_what_a_peer_sends_instead_is_none(served: Served) -> None:
    assert entry_of("a", make_record(Version(1, 1), b"v", "text/plain", flags=5)).flags == 5
    for wrong in (True, -1, 1.5, "x"):
        record = make_record(Version(1, 1), b"v", flags=wrong)  # type: ignore[arg-type]
        assert entry_of("a", record).flags == 0


async def test_an_expired_key_is_missing_and_wakes_who_waits_for_it(served: Served) -> None:
    # the index at which it is written: it may be gone before the first question
    index = modify_index(await served.node.put("a", b"1", ttl_s=0.3))
    gone = await served.call("GET", f"/v1/kv/a?index={index}&wait=5m")
    assert gone.status == 404
    assert index_of(gone) > index
    assert (await served.call("GET", "/v1/kv/?keys")).json == []


# -- blocking queries ----------------------------------------------------------------------------


async def test_a_blocking_query_ends_with_the_change_or_with_its_time(served: Served) -> None:
    await served.call("PUT", "/v1/kv/a", b"1")
    first = await served.call("GET", "/v1/kv/a")
    # waits 20 ms, and up to a sixteenth more
    timed_out = await served.call("GET", f"/v1/kv/a?index={index_of(first)}&wait=20ms")
    assert (timed_out.body, index_of(timed_out)) == (first.body, index_of(first))
    query = await blocked(served, f"/v1/kv/a?index={index_of(first)}")
    await served.node.delete("a")
    gone = await query
    assert gone.status == 404
    assert index_of(gone) > index_of(first)
    assert waiting(served) == 0


async def test_index_0_and_an_older_index_do_not_block(served: Served) -> None:
    await served.call("PUT", "/v1/kv/a", b"1")
    old = index_of(await served.call("GET", "/v1/kv/a"))
    await served.call("PUT", "/v1/kv/a", b"2")
    for index in (0, 1, old):
        async with asyncio.timeout(TIMEOUT_S):
            assert (await served.call("GET", f"/v1/kv/a?index={index}&wait=10m")).json[0][
                "Value"
            ] == "Mg=="


async def test_lesson_19_a_blocking_query_for_a_prefix_wakes_for_what_is_under_it_alone(
    served: Served,
) -> None:
    """What comes back is the whole prefix, as Consul has it; who wants only what changed asks
    /watch."""
    await served.node.put("a/1", b"1")
    index = index_of(await served.call("GET", "/v1/kv/a/?recurse"))
    query = await blocked(served, f"/v1/kv/a/?recurse&index={index}")
    await served.node.put("b/1", b"1")
    still = await served.call("GET", f"/v1/kv/a/?recurse&index={index}&wait=1ms")
    assert index_of(still) == index
    assert not query.done()
    await served.node.put("a/2", b"2")
    woken = await query
    assert [item["Key"] for item in woken.json] == ["a/1", "a/2"]
    assert [item["ModifyIndex"] > index for item in woken.json] == [False, True]


async def test_lesson_21_a_wait_for_a_missing_key_wakes_for_that_key_alone(served: Served) -> None:
    missing = await served.call("GET", "/v1/kv/a")
    query = await blocked(served, f"/v1/kv/a?index={index_of(missing)}")
    for key in ("ab", "a/b", "b"):
        await served.node.put(key, b"1")
        await served.node.delete(key)
    still = await served.call("GET", f"/v1/kv/a?index={index_of(missing)}&wait=1ms")
    assert (still.status, index_of(still)) == (404, index_of(missing))
    assert not query.done()
    await served.node.put("a", b"1")
    assert (await query).json[0]["Key"] == "a"


@pytest.mark.parametrize("ahead", [1, 2**20, 2**63])
async def test_lesson_23_an_index_of_another_server_or_of_the_future_does_not_hang(
    ahead: int, served: Served
) -> None:
    await served.call("PUT", "/v1/kv/a", b"1")
    index = index_of(await served.call("GET", "/v1/kv/a"))
    async with asyncio.timeout(TIMEOUT_S):
        got = await served.call("GET", f"/v1/kv/a?index={index + ahead}&wait=10m")
    assert (got.status, index_of(got)) == (200, index)


async def test_lesson_23_an_index_never_falls_on_a_node_nor_over_its_restart(
    serve: Serve, tmp_path: Any
) -> None:
    served = await serve(data_dir=str(tmp_path))
    seen = [index_of(await served.call("GET", "/v1/kv/a"))]
    for value in (b"1", b"2"):
        await served.call("PUT", "/v1/kv/a", value)
        seen.append(index_of(await served.call("GET", "/v1/kv/a")))
    await served.node.stop(leave=False)
    await served.node.start()
    after = await served.call("GET", f"/v1/kv/a?index={seen[-1] - 1}&wait=10m")
    assert after.json[0]["Value"] == "Mg=="
    assert after.json[0]["ModifyIndex"] <= index_of(after)
    seen.append(index_of(after))
    assert seen == sorted(set(seen))


async def test_a_version_that_was_written_before_but_arrives_later_ends_a_blocking_query(
    serve: Serve,
) -> None:
    one, other = await serve(), await serve("n2")
    old = await other.node.put("a", b"from the other")
    await one.call("PUT", "/v1/kv/b", b"here")
    index = index_of(await one.call("GET", "/v1/kv/a"))
    query = await blocked(one, f"/v1/kv/a?index={index}")
    # founded apart, as nodes without --join are
    await one.node.join(str(other.node.address), merge=True)
    woken = await query
    assert woken.json[0]["ModifyIndex"] == modify_index(old)
    assert index_of(woken) > max(index, modify_index(old))


async def test_a_client_that_goes_away_frees_its_waiter(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consul_module, "POLL_LOOKS_S", 0.02)
    index = index_of(await served.call("GET", "/v1/kv/a"))
    _, writer = await served.connect()
    writer.write(f"GET /v1/kv/a?index={index} HTTP/1.1\r\nHost: n\r\n\r\n".encode())
    await until(lambda: waiting(served) == 1)
    writer.close()
    await until(lambda: waiting(served) == 0)
    assert len(served.node.feed.watches) == 0


async def test_there_may_be_so_many_blocking_queries_and_no_more(serve: Serve) -> None:
    served = await serve(watchers_max=1)
    index = index_of(await served.call("GET", "/v1/kv/a"))
    query = await blocked(served, f"/v1/kv/a?index={index}")
    refused = await served.call("GET", f"/v1/kv/a?index={index}")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert (await served.call("GET", "/v1/kv/a")).status == 404
    await served.node.put("a", b"1")
    assert (await query).status == 200


@pytest.mark.parametrize(
    "wait", ["10s", "5m", "1m30s", "500ms", "1.5h", "0", "0s", "100us", "3h2m1s"]
)
async def test_durations_are_those_of_go(wait: str, served: Served) -> None:
    assert (await served.call("GET", f"/v1/kv/a?wait={wait}")).status == 404


@pytest.mark.parametrize("wait", ["10", "s", "-1s", "1d", "1s2", "", "1 s", "١s"])
async def test_what_is_no_duration_of_go_is_refused(wait: str, served: Served) -> None:
    assert (await served.call("GET", f"/v1/kv/a?wait={quote(wait)}")).status == 400


# -- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v1/kv/", 400),
        ("PUT", "/v1/kv/", 400),
        ("DELETE", "/v1/kv/", 400),
        ("GET", "/v1/kv//a", 400),
        ("PUT", "/v1/kv/a/../b", 400),
        ("GET", "/v1/kv/a/../?recurse", 400),
        ("DELETE", "/v1/kv/%2Fa?recurse", 400),
        ("PUT", "/v1/kv/%FF", 400),
        ("PUT", "/v1/kv/a?flags=18446744073709551616", 400),
        ("PUT", "/v1/kv/a?flags=-1", 400),
        ("PUT", "/v1/kv/a?cas=x", 400),
        ("PUT", "/v1/kv/a?unknown=1", 400),
        ("PUT", "/v1/kv/a?dc=elsewhere", 400),
        ("DELETE", "/v1/kv/a?cas=1&recurse", 400),
        ("GET", "/v1/kv/a?index=-1", 400),
        ("GET", "/v1/kv/a?stale&consistent", 400),
        ("GET", "/v1/kv/a?ns=team", 400),
        ("POST", "/v1/kv/a", 405),
        ("PUT", "/v1/status/leader", 405),
        ("PUT", "/v1/kv/a?acquire=s", 501),
        ("PUT", "/v1/kv/a?release=s", 501),
        ("PUT", "/v1/session/create", 501),
        ("PUT", "/v1/txn", 501),
        ("GET", "/v1/health/service/web", 501),
        ("GET", "/v1/", 501),
    ],
)
async def test_what_is_not_offered_is_refused_with_a_reason_and_changes_nothing(
    method: str, target: str, status: int, served: Served
) -> None:
    got = await served.call(method, target, b"1" if method in ("PUT", "POST") else None)
    assert got.status == status
    assert got.json["error"]
    assert got.json["hint"]
    assert served.node.list() == []


async def test_keys_that_consul_refused_are_taken(served: Served) -> None:
    """lessons.md 26."""
    for encoded, key in (
        ("a%20b%25", "a b%"),
        ("%C3%A7", "ç"),
        ("a//b", "a//b"),
        ("a+b", "a+b"),
        ("trailing/", "trailing/"),
    ):
        assert (await served.call("PUT", f"/v1/kv/{encoded}", b"1")).body == b"true"
        assert (await served.call("GET", f"/v1/kv/{encoded}")).json[0]["Key"] == key


async def test_a_value_that_is_too_large_is_413(served: Served) -> None:
    assert (await served.call("PUT", "/v1/kv/a", b"x" * (VALUE_BYTES_MAX + 1))).status == 413
    assert (await served.call("PUT", "/v1/kv/a", b"x" * VALUE_BYTES_MAX)).body == b"true"


async def test_before_it_has_settled_a_node_answers_no_read_and_no_cas_but_takes_writes(
    serve: Serve,
) -> None:
    served = await serve(join=(NOBODY,))
    assert (await served.call("PUT", "/v1/kv/a", b"1")).body == b"true"
    assert (await served.call("PUT", "/v1/kv/b", b"1")).body == b"true"
    assert (await served.call("DELETE", "/v1/kv/b")).body == b"true"
    reads = [
        ("GET", "/v1/kv/a"),
        ("GET", "/v1/kv/a?recurse"),
        ("GET", "/v1/kv/a?keys"),
        ("GET", "/v1/kv/a?index=1&wait=10m"),
    ]
    for method, target in [
        *reads,
        ("PUT", "/v1/kv/a?cas=0"),
        ("DELETE", "/v1/kv/a?cas=1"),
        ("DELETE", "/v1/kv/a?recurse"),
        ("DELETE", "/v1/kv/b"),
    ]:
        async with asyncio.timeout(TIMEOUT_S):
            got = await served.call(method, target, b"2" if method == "PUT" else None)
        assert (got.status, got.headers["retry-after"]) == (503, "1")
    assert json.loads((await served.call("GET", "/v1/agent/members")).body)[0]["Name"] == "n1"


# -- switches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("no", ["false", "0", "False", "f"])
async def test_a_switch_that_is_off_does_not_recurse(no: str, served: Served) -> None:
    for key in ("app/db", "app/db-replica", "app/db/password"):
        await served.node.put(key, b"1")
    plain = await served.call("GET", "/v1/kv/app/db")
    for switch in ("recurse", "keys", "raw", "pretty", "consistent", "stale"):
        assert (await served.call("GET", f"/v1/kv/app/db?{switch}={no}")).body == plain.body
    assert (await served.call("DELETE", f"/v1/kv/app/db?recurse={no}")).body == b"true"
    assert [entry.key for entry in served.node.list()] == ["app/db-replica", "app/db/password"]


@pytest.mark.parametrize("yes", ["", "=", "=1", "=true", "=True", "=t"])
async def test_a_switch_that_is_on_recurses(yes: str, served: Served) -> None:
    for key in ("a", "a/b", "b"):
        await served.node.put(key, b"1")
    assert len((await served.call("GET", f"/v1/kv/a?recurse{yes}")).json) == 2
    assert (await served.call("GET", f"/v1/kv/a?keys{yes}")).json == ["a", "a/b"]
    assert (await served.call("GET", f"/v1/kv/a?raw{yes}")).body == b"1"
    assert (await served.call("GET", f"/v1/kv/a?stale{yes}&consistent=0")).status == 200
    await served.call("DELETE", f"/v1/kv/a?recurse{yes}")
    assert [entry.key for entry in served.node.list()] == ["b"]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/kv/a?recurse=maybe"),
        ("GET", "/v1/kv/a?keys=2"),
        ("GET", "/v1/kv/a?raw=x"),
        ("GET", "/v1/kv/a?stale=yes%20please"),
        ("GET", "/v1/kv/a?consistent=-1"),
        ("GET", "/v1/kv/a?cached=?"),
        ("GET", "/v1/agent/members?wan=w"),
        ("PUT", "/v1/kv/a?stale=x"),
        ("DELETE", "/v1/kv/a?recurse=nein"),
        ("GET", "/watch?poll=2"),
        ("POST", "/import?as_new=2"),
    ],
)
async def test_what_is_neither_on_nor_off_is_refused_and_changes_nothing(
    method: str, target: str, served: Served
) -> None:
    await served.node.put("a", b"1")
    refused = await served.call(method, target, b"2" if method in ("PUT", "POST") else None)
    assert (refused.status, served.node.get("a")) == (400, b"1")
    assert "neither true nor false" in refused.json["error"]
    assert "=false" in refused.json["hint"]


async def test_pretty_json_is_indented_and_the_same(served: Served) -> None:
    for key in ("a", "a/b"):
        await served.node.put(key, b'"{\n')
    for target in ("/v1/kv/a?recurse", "/v1/kv/a?keys", "/v1/kv/a?", "/v1/agent/members?"):
        plain = await served.call("GET", target)
        pretty = await served.call("GET", f"{target}&pretty")
        assert (pretty.json, b"\n    " in pretty.body) == (plain.json, True)
        assert b"\n" not in plain.body


# -- indices -------------------------------------------------------------------------------------


async def test_indices_are_numbers_that_javascript_holds(served: Served) -> None:
    await served.node.put("a", b"1")
    got = await served.call("GET", "/v1/kv/a")
    for number in (index_of(got), got.json[0]["ModifyIndex"], served.node.feed.index):
        assert 2**51 < number < 2**53
        assert int(float(number)) == number


async def test_the_modify_index_of_the_latest_change_blocks_and_that_of_an_older_one_does_not(
    serve: Serve,
) -> None:
    one, other = await serve(), await serve("n2")
    await other.node.put("a/1", b"from the other")
    await one.node.join(str(other.node.address))
    await until(lambda: one.node.get("a/1") is not None)
    first = await one.call("GET", "/v1/kv/a/1")
    modified = first.json[0]["ModifyIndex"]
    assert modified < index_of(first)
    queries = [
        await blocked(one, f"/v1/kv/{target}index={modified}")
        for target in ("a/1?", "a/?recurse&", "a/?keys&", "?recurse&")
    ]
    await one.node.put("a/1", b"here")
    assert [index_of(each) > index_of(first) for each in await asyncio.gather(*queries)] == [
        True
    ] * len(queries)
    for target in ("a/1?", "a/?recurse&", "a/?keys&"):
        async with asyncio.timeout(TIMEOUT_S):
            again = await one.call("GET", f"/v1/kv/{target}index={modified}&wait=10m")
        assert index_of(again) > modified


async def test_an_index_that_this_node_gave_for_an_older_change_is_no_modify_index(
    served: Served,
) -> None:
    """Two nodes write at one timestamp: the index of the one change is the ModifyIndex of the
    other."""
    old = await served.node.put("a/1", b"here")
    index = index_of(await served.call("GET", "/v1/kv/a/?recurse"))
    assert index == modify_index(old)
    twin = make_record(Version(old.version.timestamp, old.version.site ^ 1), b"elsewhere")
    await served.node.restore([("a/2", twin)])
    async with asyncio.timeout(TIMEOUT_S):
        got = await served.call("GET", f"/v1/kv/a/?recurse&index={index}&wait=10m")
    assert [item["Key"] for item in got.json] == ["a/1", "a/2"]
    assert got.json[1]["ModifyIndex"] == index
