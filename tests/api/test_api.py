"""The HTTP API: a real node, a real server, real sockets. Requests are written byte by byte, so
that no client library tidies them up."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import kvgossip
from kvgossip.api.listening import PortInUseError, listen
from kvgossip.protocol.model.entry import Version, make_record
from tests.api.serving import NOBODY, VALUE_BYTES_MAX, Serve, Served, read_reply

# -- values ---------------------------------------------------------------------------------------


async def test_a_value_comes_back_byte_for_byte_with_its_content_type_and_version(
    served: Served,
) -> None:
    put = await served.call("PUT", "/kv/a", b"\x00\xff\r\n", content_type="text/x; charset=utf-8")
    assert put.status == 200
    assert put.json == {"key": "a", "version": put.headers["kv-version"]}

    got = await served.call("GET", "/kv/a")
    assert (got.status, got.body) == (200, b"\x00\xff\r\n")
    assert got.headers["content-type"] == "text/x; charset=utf-8"
    assert got.headers["kv-version"] == put.headers["kv-version"]
    assert got.headers["etag"] == f'"{put.headers["kv-version"]}"'
    assert got.headers["kv-settled"] == "true"


async def test_a_value_without_a_content_type_is_octets(served: Served) -> None:
    await served.call("PUT", "/kv/a", b"1")
    assert (await served.call("GET", "/kv/a")).headers["content-type"] == "application/octet-stream"
    entry = served.node.entry("a")
    assert entry is not None
    assert entry.content_type is None


async def test_an_empty_value_is_a_value(served: Served) -> None:
    assert (await served.call("PUT", "/kv/a")).status == 200
    got = await served.call("GET", "/kv/a")
    assert (got.status, got.headers["content-length"], got.body) == (200, "0", b"")


async def test_head_answers_as_get_does_without_the_body(served: Served) -> None:
    await served.node.put("a", b"123")
    got, head = await served.call("GET", "/kv/a"), await served.call("HEAD", "/kv/a")
    assert head.status == 200
    assert head.headers == {**got.headers, "date": head.headers["date"]}
    assert (await served.call("HEAD", "/kv/absent")).status == 404


async def test_a_client_that_has_this_version_gets_304(served: Served) -> None:
    version = (await served.call("PUT", "/kv/a", b"1")).headers["kv-version"]
    for condition in (f'"{version}"', f'W/"{version}"', f'"other", "{version}"', "*"):
        got = await served.call("GET", "/kv/a", If_None_Match=condition)
        assert (got.status, got.headers["etag"], got.body) == (304, f'"{version}"', b"")
        assert "content-length" not in got.headers
    assert (await served.call("GET", "/kv/a", If_None_Match='"other"')).status == 200


async def test_an_absent_key_is_404_in_json(served: Served) -> None:
    got = await served.call("GET", "/kv/a%20b")
    assert got.status == 404
    assert got.json["key"] == "a b"
    assert got.json["error"]
    assert got.json["hint"]


async def test_a_deleted_key_is_gone_and_a_second_delete_is_404(served: Served) -> None:
    put = await served.call("PUT", "/kv/a", b"1")
    deleted = await served.call("DELETE", "/kv/a")
    assert deleted.status == 200
    assert deleted.json == {"key": "a", "version": deleted.headers["kv-version"], "deleted": True}
    assert deleted.headers["kv-version"] > put.headers["kv-version"]
    assert (await served.call("GET", "/kv/a")).status == 404
    assert (await served.call("DELETE", "/kv/a")).status == 404


async def test_a_write_after_a_delete_has_a_greater_version(served: Served) -> None:
    await served.call("PUT", "/kv/a", b"1")
    deleted = await served.call("DELETE", "/kv/a")
    assert (await served.call("PUT", "/kv/a", b"2")).headers["kv-version"] > deleted.headers[
        "kv-version"
    ]
    assert (await served.call("GET", "/kv/a")).body == b"2"


# Without it the express lane answers, with it aiohttp's (see test_fast.py).
LANES = pytest.mark.parametrize("lane", [{}, {"X_Other_Lane": "1"}], ids=["express", "general"])


@LANES
async def test_a_write_whose_version_is_not_the_present_one_is_412_and_tells_the_present_one(
    served: Served, lane: dict[str, Any]
) -> None:
    first = (await served.call("PUT", "/kv/a", b"1", **lane)).headers["kv-version"]
    second = await served.call("PUT", "/kv/a", b"2", If_Match=f'"{first}"', **lane)
    assert (second.status, second.headers["kv-condition-scope"]) == (200, "node")
    version = second.headers["kv-version"]
    for condition in (f'"{first}"', f'"{first}", "other"', f'W/"{version}"'):
        for method in ("PUT", "DELETE"):
            failed = await served.call(
                method, "/kv/a", b"3" if method == "PUT" else None, If_Match=condition, **lane
            )
            assert (failed.status, failed.json["key"], failed.json["version"]) == (
                412,
                "a",
                version,
            )
            assert (failed.headers["etag"], failed.headers["kv-version"]) == (
                f'"{version}"',
                version,
            )
            assert failed.headers["kv-condition-scope"] == "node"
    assert served.node.get("a") == b"2"
    assert (await served.call("GET", "/kv/a", If_Match=f'"{first}"', **lane)).status == 412
    deleted = await served.call("DELETE", "/kv/a", If_Match=f'"other", "{version}"', **lane)
    assert (deleted.status, deleted.headers["kv-condition-scope"]) == (200, "node")
    # what would be 404 without a condition is 404 with it (RFC 9110 section 13.2.1)
    assert (await served.call("DELETE", "/kv/a", If_Match=f'"{version}"', **lane)).status == 404


@LANES
async def test_a_write_that_wants_no_such_key_or_some_such_key_gets_what_it_wants(
    served: Served, lane: dict[str, Any]
) -> None:
    nothing = await served.call("PUT", "/kv/a", b"0", If_Match="*", **lane)
    assert (nothing.status, nothing.json["version"]) == (412, None)
    assert "etag" not in nothing.headers
    assert (await served.call("PUT", "/kv/a", b"1", If_None_Match="*", **lane)).status == 200
    assert (await served.call("PUT", "/kv/a", b"2", If_None_Match="*", **lane)).status == 412
    assert (await served.call("DELETE", "/kv/a", If_None_Match="*", **lane)).status == 412
    assert (await served.call("PUT", "/kv/a", b"3", If_Match="*", **lane)).status == 200
    await served.call("DELETE", "/kv/a", **lane)
    assert (await served.call("PUT", "/kv/a", b"4", If_None_Match="*", **lane)).status == 200
    assert served.node.get("a") == b"4"


@LANES
async def test_a_condition_that_is_not_understood_is_400_and_changes_nothing(
    served: Served, lane: dict[str, Any]
) -> None:
    for condition in ("bare", '"', "", '*, "a"', '"a" "b"'):
        for method in ("PUT", "DELETE", "GET"):
            answer = await served.call(
                method, "/kv/a", b"1" if method == "PUT" else None, If_Match=condition, **lane
            )
            assert (answer.status, "with the quotes" in answer.json["hint"]) == (400, True)
    assert served.node.list() == []


@LANES
async def test_a_condition_is_503_before_the_node_has_settled_because_the_node_cannot_know(
    serve: Serve, lane: dict[str, Any]
) -> None:
    served = await serve(join=(NOBODY,))
    assert (await served.call("PUT", "/kv/a", b"1", **lane)).status == 200
    conditions: list[dict[str, Any]] = [{"If_Match": "*"}, {"If_None_Match": "*"}]
    for condition in conditions:
        assert (await served.call("PUT", "/kv/a", b"2", **condition, **lane)).status == 503
        assert (await served.call("DELETE", "/kv/a", **condition, **lane)).status == 503


async def test_a_condition_that_is_not_looked_at_is_refused(served: Served) -> None:
    for name in ("If_Unmodified_Since", "Content_Range"):
        assert (await served.call("PUT", "/kv/a", b"1", **{name: "*"})).status == 501
        assert (await served.call("DELETE", "/kv/a", None, **{name: "*"})).status == 501
    assert served.node.get("a") is None


async def test_an_encoded_body_is_refused_because_its_encoding_would_be_lost(
    served: Served,
) -> None:
    assert (await served.call("PUT", "/kv/a", b"1", Content_Encoding="gzip")).status == 415
    assert served.node.get("a") is None


async def test_a_content_type_that_is_no_header_text_is_never_sent(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = make_record(Version(1, 1), b"1", "text/html\r\nX-Planted: yes")
    monkeypatch.setattr(served.node, "record", lambda key: planted)
    got = await served.call("GET", "/kv/a")
    assert (got.headers["content-type"], got.body) == ("application/octet-stream", b"1")
    assert "x-planted" not in got.headers


async def test_a_content_type_that_is_no_header_text_is_400(served: Served) -> None:
    assert (await served.call("PUT", "/kv/a", b"1", content_type="é")).status == 400
    assert (await served.call("PUT", "/kv/a", b"1", content_type="t/" + "x" * 300)).status == 400


# -- keys (lesson 26) ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a//b", "a//b"),
        ("a/", "a/"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("100%", "100%"),
        ("100%25", "100%"),
        ("%zz", "%zz"),
        ("%C3%A7", "ç"),
        ("ç", "ç"),
        ("%F0%9F%8D%8B/ç", "🍋/ç"),
        ("%00", "\0"),
        ("a...b/.c", "a...b/.c"),
        ("a%3Fb", "a?b"),
        ("a:b@c;d,e=f&g~h", "a:b@c;d,e=f&g~h"),
        ("x" * 1024, "x" * 1024),
        ("%C3%A7" * 512, "ç" * 512),
    ],
)
async def test_lesson_26_any_utf8_key_is_taken_as_it_was_sent(
    served: Served, target: str, key: str
) -> None:
    put = await served.call("PUT", f"/kv/{target}", b"1")
    assert put.status == 200
    assert put.json["key"] == key
    assert [entry.key for entry in served.node.list()] == [key]
    assert (await served.call("GET", f"/kv/{target}")).status == 200
    assert (await served.call("DELETE", f"/kv/{target}")).status == 200


@pytest.mark.parametrize(
    "target",
    [
        "",
        "..",
        "../x",
        "a/../b",
        "%2e%2e",
        "a%2F..%2Fb",
        "./a",
        "a/.",
        "/a",
        "%2Fa",
        "%ff",
        "%C3",
        "%ED%A0%80",
        "x" * 1025,
        "%C3%A7" * 513,
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_lesson_26_a_key_that_climbs_or_is_no_utf8_is_a_clear_400(
    served: Served, method: str, target: str
) -> None:
    answer = await served.call(method, f"/kv/{target}", b"1" if method == "PUT" else None)
    assert answer.status == 400
    assert "the key" in answer.json["error"]
    assert answer.json["hint"]
    assert served.node.list() == []


async def test_a_path_that_climbs_out_of_kv_never_becomes_another_path(served: Served) -> None:
    assert (await served.call("GET", "/kv/../status")).status == 400
    assert (await served.call("GET", "/x/../status")).status == 404


async def test_a_body_that_looks_like_a_typed_path_is_not_touched(served: Served) -> None:
    value = "GET /kv/ç HTTP/1.1\r\n\r\n".encode()
    reader, writer = await served.connect()
    for _ in range(2):
        # The body in a packet of its own, after the server has begun to wait for it.
        writer.write(
            b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            % len(value)
        )
        assert (await read_reply(reader)).status == 100
        writer.write(value)
        assert (await read_reply(reader)).status == 200
    writer.close()
    await writer.wait_closed()
    assert served.node.get("a") == value


async def test_an_absolute_target_as_proxies_send_it_is_understood(served: Served) -> None:
    await served.node.put("a", b"1")
    assert (await served.call("GET", "http://node:7480/kv/a")).body == b"1"


# -- lists ---------------------------------------------------------------------------------------


async def test_a_list_is_sorted_and_comes_page_by_page(served: Served) -> None:
    for key in ("b/2", "a", "b/1", "c", "b/3"):
        await served.node.put(key, b"xyz", content_type="text/plain")
    await served.node.delete("c")
    first = (await served.call("GET", "/kv?prefix=b/&limit=2")).json
    assert [entry["key"] for entry in first["entries"]] == ["b/1", "b/2"]
    assert {name: first["entries"][0][name] for name in ("content_type", "bytes")} == {
        "content_type": "text/plain",
        "bytes": 3,
    }
    assert first["after"] == "b/2"
    second = (await served.call("GET", f"/kv?prefix=b/&limit=2&after={first['after']}")).json
    assert [entry["key"] for entry in second["entries"]] == ["b/3"]
    assert second["after"] is None
    assert [entry["key"] for entry in (await served.call("GET", "/kv")).json["entries"]] == [
        "a",
        "b/1",
        "b/2",
        "b/3",
    ]


async def test_a_list_begins_at_any_place_and_says_how_many_keys_there_are(served: Served) -> None:
    for key in ("a", "b/1", "b/2", "b/3", "c"):
        await served.node.put(key, b"")
    page = (await served.call("GET", "/kv?prefix=b/&offset=1&limit=1")).json
    assert ([each["key"] for each in page["entries"]], page["after"], page["keys"]) == (
        ["b/2"],
        "b/2",
        3,
    )
    assert (await served.call("GET", "/kv?offset=9")).json["entries"] == []
    for query in ("offset=-1", "offset=x", "offset=1&after=a"):
        assert (await served.call("GET", f"/kv?{query}")).status == 400


async def test_folders_have_how_many_keys_they_hold(served: Served) -> None:
    for key in ("a", "b/1", "b/2/x", "b/2/y", "c/1"):
        await served.node.put(key, b"")
    await served.node.delete("c/1")
    first = (await served.call("GET", "/folders")).json
    assert first == {"folders": [{"prefix": "b/", "keys": 3}], "after": None, "keys": 4}
    below = (await served.call("GET", "/folders?prefix=b/")).json
    assert below == {"folders": [{"prefix": "b/2/", "keys": 2}], "after": None, "keys": 3}


async def test_a_page_that_ends_exactly_at_the_last_key_is_the_last(served: Served) -> None:
    await served.node.put("a", b"")
    assert (await served.call("GET", "/kv?limit=1")).json["after"] is None


async def test_a_prefix_is_decoded_as_a_query(served: Served) -> None:
    await served.node.put("ç d", b"")
    for prefix in ("%C3%A7+", "%C3%A7%20"):
        assert [
            entry["key"]
            for entry in (await served.call("GET", f"/kv?prefix={prefix}")).json["entries"]
        ] == ["ç d"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=²",
        "prefix=%ff",
        "prefx=a",
        "limit=1&limit=2",
        "limit=1.5",
    ],
)
async def test_a_query_that_makes_no_sense_is_400(served: Served, query: str) -> None:
    answer = await served.call("GET", f"/kv?{query}")
    assert answer.status == 400
    assert answer.json["error"]


async def test_a_parameter_that_a_path_does_not_know_is_400_and_changes_nothing(
    served: Served,
) -> None:
    assert (await served.call("PUT", "/kv/a?sync=all", b"1")).status == 400
    assert served.node.list() == []


# -- refusals ------------------------------------------------------------------------------------


async def test_an_unknown_path_is_404_and_names_the_paths_there_are(served: Served) -> None:
    for target in ("/", "/kvx", "/status/"):
        answer = await served.call("GET", target)
        assert answer.status == 404
        assert "/kv" in answer.json["hint"]


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PATCH", "/kv/a", "GET, HEAD, PUT, DELETE, POST"),
        ("OPTIONS", "/kv/a", "GET, HEAD, PUT, DELETE, POST"),
        ("PUT", "/kv", "GET, HEAD"),
        ("GET", "/leave", "POST"),
    ],
)
async def test_a_method_that_does_not_fit_is_405_with_allow(
    served: Served, method: str, target: str, allowed: str
) -> None:
    answer = await served.call(method, target, b"")
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert answer.json["error"]


async def test_a_value_that_is_too_large_is_413_by_its_announced_length_before_it_is_sent(
    served: Served,
) -> None:
    await served.node.put("a", b"old")
    answer = await served.call(
        "PUT", "/kv/a", Content_Length=str(VALUE_BYTES_MAX + 1), Expect="100-continue"
    )
    assert answer.status == 413
    assert str(VALUE_BYTES_MAX) in answer.json["error"]
    assert served.node.get("a") == b"old"


async def test_a_value_that_is_too_large_is_413_also_in_one_packet_and_in_chunks(
    served: Served,
) -> None:
    assert (await served.call("PUT", "/kv/a", b"x" * (VALUE_BYTES_MAX + 1))).status == 413
    head = b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    assert (await served.raw(head + chunk * 3)).status == 413
    assert served.node.get("a") is None
    assert (await served.call("PUT", "/kv/a", b"x" * VALUE_BYTES_MAX)).status == 200
    assert (await served.raw(head + chunk * 2 + b"0\r\n\r\n")).status == 200


async def test_a_body_cut_off_in_the_middle_changes_nothing(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    await served.node.put("a", b"old")
    for head in (b"Content-Length: 9", b"Transfer-Encoding: chunked"):
        reader, writer = await served.connect()
        writer.write(
            b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nExpect: 100-continue\r\n" + head + b"\r\n\r\n"
        )
        assert (await read_reply(reader)).status == 100
        writer.write(b"3\r\nnew\r\n")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert served.node.get("a") == b"old"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("more", ["", "X-Other-Lane: 1\r\n"])
async def test_a_body_that_never_arrives_is_given_up(serve: Serve, more: str) -> None:
    served = await serve(http_body_timeout_s=0.1)
    reader, writer = await served.connect()
    writer.write(f"PUT /kv/a HTTP/1.1\r\nHost: n\r\n{more}Content-Length: 9\r\n\r\nnew".encode())
    answer = await read_reply(reader)
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    writer.close()
    await writer.wait_closed()
    assert served.node.get("a") is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /kv/a HTTP/1.1\r\nno header\r\n\r\n",
        b"GET /kv/\xff HTTP/1.1 \xff\r\n\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n",
        b"PUT /kv/a HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"PUT /kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_is_400_in_json_and_no_exception_in_the_log(
    served: Served, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await served.raw(garbage)
    assert answer.status == 400
    assert set(answer.json) == {"error", "hint"}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_no_bytes_whatever_are_a_bug_or_stop_the_server(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(7)
    seeds = [
        (
            "PUT /kv/ç%2F HTTP/1.1\r\nHost: n\r\nContent-Length: 5\r\nContent-Type: "
            "text/plain\r\n\r\nhello"
        ).encode(),
        b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: "
        b"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b'GET /kv?prefix=%C3%A7&limit=10&after= HTTP/1.1\r\nHost: n\r\nIf-None-Match: "x"\r\n\r\n',
        b'POST /join HTTP/1.1\r\nHost: n\r\nContent-Length: 18\r\n\r\n{"addresses":["x"]',
    ]
    for _ in range(400):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(6)):
            data[chance.randrange(len(data))] = chance.choice(
                (0, 10, 13, 32, 37, 47, 255, chance.randrange(256))
            )
        reader, writer = await served.connect()
        writer.write(
            bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.3 else data)
        )
        writer.write_eof()
        assert b" 500 " not in (await reader.read()).partition(b"\r\n")[0]
        writer.close()
        await writer.wait_closed()
    assert (await served.call("GET", "/healthz")).status == 200
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    # commands that made no sense are lines of the audit log
    assert {record.name for record in warnings} <= {"kvgossip.audit"}


async def test_a_bug_is_500_without_its_traceback(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(key: str) -> bytes:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(served.node, "record", broken)
    answer = await served.call("GET", "/kv/a")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "the secret of the house" in caplog.text


# -- connections ---------------------------------------------------------------------------------


async def test_requests_sent_at_once_are_answered_in_order(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(
        b"".join(
            b"PUT /kv/%d HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\n\r\n%d" % (n, n)
            for n in range(9)
        )
    )
    assert [(await read_reply(reader)).json["key"] for _ in range(9)] == [str(n) for n in range(9)]
    writer.close()
    await writer.wait_closed()


async def test_http_1_0_is_answered_and_closed_or_kept_as_asked(served: Served) -> None:
    await served.node.put("a", b"1")
    closed = await served.raw(b"GET /kv/a HTTP/1.0\r\n\r\n")
    assert (closed.body, closed.headers["connection"]) == (b"1", "close")
    kept = await served.raw(b"GET /kv/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (kept.body, kept.headers["connection"]) == (b"1", "keep-alive")


async def test_a_client_that_reads_late_gets_every_answer(served: Served) -> None:
    await served.node.put("a", b"x" * VALUE_BYTES_MAX)
    reader, writer = await served.connect()
    requests = 20_000
    writer.write(b"GET /kv/a HTTP/1.1\r\nHost: n\r\n\r\n" * requests)
    # The server waits when the client's buffers are full, and goes on when they are read.
    for _ in range(requests):
        assert (await read_reply(reader)).status == 200
    writer.close()
    await writer.wait_closed()


async def test_a_port_in_use_is_one_clear_line(served: Served) -> None:
    with pytest.raises(PortInUseError, match="is in use") as caught:
        listen(served.server.address)
    assert "--http" in caught.value.hint


# -- honest reads (protocol.md section 8) --------------------------------------------------------


async def test_lesson_16_reads_are_503_before_the_node_has_settled_and_writes_are_taken(
    serve: Serve,
) -> None:
    served = await serve(join=(NOBODY,))
    for method, target in (
        ("GET", "/kv/a"),
        ("HEAD", "/kv/a"),
        ("GET", "/kv"),
        ("DELETE", "/kv/a"),
    ):
        answer = await served.call(method, target)
        assert (answer.status, answer.headers["kv-settled"]) == (503, "false")
        assert int(answer.headers["retry-after"]) > 0
    assert (await served.call("PUT", "/kv/a", b"1")).status == 200
    assert (await served.call("GET", "/kv/a")).status == 503


async def test_lesson_18_readyz_tells_whether_the_node_has_settled_and_healthz_whether_it_lives(
    serve: Serve,
) -> None:
    served = await serve(join=(NOBODY,))
    assert (await served.call("GET", "/healthz")).json == {"status": "ok"}
    unready = await served.call("GET", "/readyz")
    assert (unready.status, unready.json["settled"]) == (503, False)
    assert (await served.call("POST", "/settle")).json == {"settled": True}
    ready = await served.call("GET", "/readyz")
    assert (ready.status, ready.json, ready.headers["kv-settled"]) == (
        200,
        {"settled": True},
        "true",
    )
    assert (await served.call("GET", "/kv/a")).status == 404


# -- the cluster ---------------------------------------------------------------------------------


async def test_a_lone_node_tells_of_itself(served: Served) -> None:
    (member,) = (await served.call("GET", "/members")).json["members"]
    assert (member["name"], member["state"], member["self"]) == ("n1", "alive", True)
    assert member["http"] == str(served.server.address)
    status = (await served.call("GET", "/status")).json
    assert (status["name"], status["cluster"], status["settled"], status["version"]) == (
        "n1",
        "default",
        True,
        kvgossip.__version__,
    )
    assert "kv-synced-age" not in (await served.call("GET", "/status")).headers


async def test_a_node_joins_through_the_api_and_then_tells_the_age_of_what_it_knows(
    serve: Serve,
) -> None:
    one, two = await serve("n1"), await serve("n2")
    await one.node.put("a", b"1")
    body = json.dumps({"addresses": [str(one.node.address)]}).encode()
    answer = await two.call("POST", "/join", body)
    assert answer.status == 200
    assert answer.json["joined"] is True
    states = {
        member["name"]: member["state"]
        for member in (await two.call("GET", "/members")).json["members"]
    }
    assert states == {"n1": "alive", "n2": "alive"}


async def test_a_put_on_one_node_is_got_from_another(serve: Serve) -> None:
    one = await serve("n1")
    two = await serve("n2", join=(str(one.node.address),))
    await two.node.wait_settled(30)
    assert int((await two.call("GET", "/readyz")).headers["kv-synced-age"]) <= 10
    async with two.node.watch("a") as changes:
        put = await one.call("PUT", "/kv/a", b"1", content_type="text/plain")
        await anext(changes)
    got = await two.call("GET", "/kv/a")
    assert (got.body, got.headers["content-type"], got.headers["kv-version"]) == (
        b"1",
        "text/plain",
        put.headers["kv-version"],
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"{}",
        b"[]",
        b'{"addresses": []}',
        b'{"addresses": [1]}',
        b'{"addresses": ["a:1"], "x": 1}',
    ],
)
async def test_a_join_that_does_not_fit_is_400(served: Served, body: bytes) -> None:
    answer = await served.call("POST", "/join", body)
    assert answer.status == 400
    assert "addresses" in answer.json["hint"]


async def test_a_join_to_what_is_no_address_is_400(served: Served) -> None:
    answer = await served.call("POST", "/join", b'{"addresses": ["a b"]}')
    assert answer.status == 400
    assert "is not an address" in answer.json["error"]


async def test_lesson_15_a_join_to_another_cluster_is_409_and_names_both_sides(
    serve: Serve,
) -> None:
    one, two = await serve("n1", cluster="blue"), await serve("n2", cluster="green")
    answer = await two.call(
        "POST", "/join", json.dumps({"addresses": [str(one.node.address)]}).encode()
    )
    assert answer.status == 409
    assert "blue" in answer.json["error"]
    assert "green" in answer.json["error"]
    assert (await two.call("GET", "/readyz")).status == 200


async def test_an_operator_blocks_and_unblocks_and_sees_what_is_blocked(serve: Serve) -> None:
    one = await serve("n1")
    two = await serve("n2", join=(str(one.node.address),))
    await two.node.wait_settled(30)
    assert (await one.call("POST", "/block", b'{"target": "n2"}')).json == {"blocked": ["n2"]}
    assert (await one.call("POST", "/block", b'{"target": "10.9.8.7/8"}')).json == {
        "blocked": ["10.0.0.0/8", "n2"]
    }
    assert (await one.call("GET", "/status")).json["blocked"] == ["10.0.0.0/8", "n2"]
    blocked = {
        member["name"]: member["blocked"]
        for member in (await one.call("GET", "/members")).json["members"]
    }
    assert blocked == {"n1": False, "n2": True}
    assert (await one.call("POST", "/unblock", b'{"target": "n2"}')).json == {
        "blocked": ["10.0.0.0/8"]
    }
    assert (await one.call("POST", "/unblock", b'{"target": "n2"}')).status == 404
    assert (await one.call("POST", "/block", b'{"target": "a b"}')).status == 400
    assert (await one.call("POST", "/block", b"{}")).status == 400
    assert (
        await one.call("POST", "/block", b'{"target": "n2"}', Origin="http://evil.example")
    ).status == 403


async def test_a_member_is_forced_to_leave_and_pruned_but_not_while_it_answers(
    serve: Serve,
) -> None:
    one = await serve("n1")
    two = await serve("n2", join=(str(one.node.address),))
    await two.node.wait_settled(30)
    refused = await one.call("POST", "/force-leave", b'{"name": "n2"}')
    assert (refused.status, refused.json["error"].partition(" at ")[0]) == (409, "the member 'n2'")
    assert "block it" in refused.json["hint"]
    assert (await one.call("POST", "/force-leave", b'{"name": "n3"}')).status == 404
    await one.call("POST", "/block", b'{"target": "n2"}')
    assert (await one.call("POST", "/force-leave", b'{"name": "n2", "prune": true}')).json == {
        "name": "n2",
        "pruned": True,
    }
    assert [member["name"] for member in (await one.call("GET", "/members")).json["members"]] == [
        "n1"
    ]


async def test_a_node_that_leaves_on_request_says_so_and_its_process_may_end(serve: Serve) -> None:
    one = await serve("n1")
    two = await serve("n2", join=(str(one.node.address),))
    await two.node.wait_settled(30)
    assert (await two.call("POST", "/leave")).json == {"left": True}
    assert two.server.left.is_set()
    assert (await two.call("PUT", "/kv/a", b"1")).status == 503


async def test_a_node_that_was_stopped_under_its_server_is_503(served: Served) -> None:
    await served.node.stop(leave=False)
    for method, target in (
        ("GET", "/kv/a"),
        ("PUT", "/kv/a"),
        ("GET", "/members"),
        ("GET", "/readyz"),
    ):
        assert (await served.call(method, target)).status == 503


async def test_a_page_of_another_site_cannot_command_a_node(serve: Serve) -> None:
    served = await serve(join=(NOBODY,))
    assert (await served.call("POST", "/settle", Origin="http://evil.example")).status == 403
    assert not served.node.settled
    assert (await served.call("POST", "/settle", Origin="http://node")).status == 200


# -- the package ---------------------------------------------------------------------------------


def test_importing_kvgossip_and_its_node_does_not_import_aiohttp() -> None:
    code = (
        "import sys, kvgossip; [getattr(kvgossip, name) for name in kvgossip.__all__]; "
        "sys.exit('aiohttp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there() -> None:
    assert all(getattr(kvgossip, name) is not None for name in kvgossip.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nodes'"):
        _ = kvgossip.Nodes  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_project_file() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert kvgossip.__version__ == project["project"]["version"]


# -- values that expire --------------------------------------------------------------------------


async def test_a_value_with_a_time_to_live_is_gone_when_that_is_over(served: Served) -> None:
    assert (await served.call("PUT", "/kv/brief?ttl=300ms", b"v")).status == 200
    assert (await served.call("PUT", "/kv/lease", b"v", kv_ttl="1h")).status == 200
    entry = served.node.entry("lease")
    assert entry is not None
    assert entry.expires_ms is not None
    assert 3_590_000 < entry.expires_ms - (entry.version.timestamp >> 16) <= 3_600_000
    async with asyncio.timeout(30), served.node.watch("brief") as changes:
        # it may be gone already
        while (await served.call("GET", "/kv/brief")).status == 200:
            assert (await anext(changes)).new.value is None
    assert (await served.call("GET", "/kv/lease")).status == 200


@pytest.mark.parametrize("ttl", ["", "0", "soon", "-1s", "1y", "1e3s", "nan", "999999999h", "5ss"])
async def test_a_time_to_live_that_makes_no_sense_is_400_and_changes_nothing(
    served: Served, ttl: str
) -> None:
    refused = await served.call("PUT", f"/kv/k?ttl={ttl}", b"v")
    assert refused.status == 400
    assert ttl != "0" or refused.json["error"] == "ttl must be at least 1ms"
    assert (await served.call("PUT", "/kv/k", b"v", kv_ttl=ttl)).status == 400
    assert (await served.call("PUT", "/kv/k?ttl=1s", b"v", kv_ttl="1s")).status == 400
    assert (await served.call("GET", "/kv/k")).status == 404
