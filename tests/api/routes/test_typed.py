"""Counters, sets, maps and siblings over HTTP, by both lanes: what clients see, and what is
refused."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kvgossip.api.access.tokens import Token
from kvgossip.protocol.model.entry import Version, make_typed_record
from kvgossip.protocol.typed import siblings
from kvgossip.protocol.typed.body import encode
from kvgossip.protocol.typed.context_token import token_of
from kvgossip.protocol.typed.siblings import SIBLINGS_MAX
from kvgossip.protocol.typed.typed_record import dot_of, empty
from tests.api.access.tokens_file import make_tokens
from tests.api.routes.test_backup import archived
from tests.api.serving import Reply, Serve, Served, serving

# a header that the express lane leaves to aiohttp's
OTHER_LANE = {"x_other": "1"}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving() as start:
        yield start


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve()


async def edit(served: Served, key: str, body: object, **headers: str) -> Reply:
    return await served.call("POST", f"/kv/{key}", json.dumps(body).encode(), **headers)


async def both_lanes(served: Served, target: str) -> Reply:
    """The answer, which is the same by both."""
    one = await served.call("GET", target)
    other = await served.call("GET", target, None, **OTHER_LANE)
    for reply in (one, other):
        reply.headers.pop("date", None)
    assert one == other
    head = await served.call("HEAD", target)
    assert (head.status, head.headers["content-length"]) == (one.status, str(len(one.body)))
    return one


MADE: tuple[tuple[str, list[dict[str, Any]], object], ...] = (
    ("counter", [{"add": 3}, {"add": -1}], 2),
    ("set", [{"add": ["x", "y"]}, {"add": ["z"]}, {"remove": ["x"]}], ["y", "z"]),
    ("max", [{"max": 3}, {"max": 2}], 3),
    ("min", [{"min": 3}, {"min": 1.5}], 1.5),
    (
        "map",
        [
            {"set": {"f": 1, "g": None, "h": "text"}},
            {"unset": ["g"]},
            {"add": 4, "field": "n"},
            {"add": ["u", "v"], "field": "s"},
            {"remove": ["u"], "field": "s"},
        ],
        {"f": 1, "h": "text", "n": 4, "s": ["v"]},
    ),
)


@pytest.mark.parametrize(("type_", "bodies", "value"), MADE)
async def test_what_is_added_is_read_as_json_with_its_type(
    type_: str, bodies: list[dict[str, Any]], value: object, served: Served
) -> None:
    for body in bodies:
        written = await edit(served, "a/k", body)
        assert written.status == 200
    assert (written.json["type"], written.json["value"]) == (type_, value)
    read = await both_lanes(served, "/kv/a/k")
    assert (read.status, read.json) == (200, value)
    assert (read.headers["kv-type"], read.headers["kv-version"]) == (
        type_,
        written.json["version"],
    )
    assert read.headers["etag"] == written.headers["etag"]
    assert read.headers["kv-context"]
    (listed,) = (await served.call("GET", "/kv")).json["entries"]
    assert (listed["content_type"], listed["bytes"], listed["type"], listed["siblings"]) == (
        "application/json",
        len(read.body),
        type_,
        1,
    )
    history = await served.call("GET", f"/history/a/k?version={written.json['version']}")
    assert history.json == value
    got = await served.call("POST", "/batch", b'{"operations": [{"get": "a/k"}]}')
    assert json.loads(got.json["results"][0]["value"]) == value
    events = await served.call("GET", "/watch?poll&values=text&since=0")
    assert events.json["resync"]
    (consul,) = (await served.call("GET", "/v1/kv/a?recurse")).json
    assert consul["Key"] == "a/k"
    assert (await served.call("GET", "/v1/kv/a/k?raw")).body == read.body


async def test_siblings_are_shown_until_a_write_with_their_context_takes_their_place(
    served: Served,
) -> None:
    cursor = (await served.call("GET", "/watch?poll&timeout=0")).json["cursor"]
    first = await served.call("PUT", "/kv/k?type=siblings", b"tea", content_type="text/plain")
    assert (first.status, first.headers["kv-type"]) == (200, "siblings")
    one = await both_lanes(served, "/kv/k")
    assert (one.status, one.body, one.headers["content-type"]) == (200, b"tea", "text/plain")
    assert (await served.call("PUT", "/kv/k", b"\xff")).status == 200
    several = await both_lanes(served, "/kv/k")
    assert several.status == 300
    assert [
        (each.get("value"), each.get("base64"), each["content_type"], each["writer"])
        for each in several.json["siblings"]
    ] == [(None, "/w==", None, "n1"), ("tea", None, "text/plain", "n1")]
    context = several.json["context"]
    assert several.headers["kv-context"] == context
    newest = await served.call("GET", "/kv/k?resolve=lww")
    assert (newest.status, newest.body, newest.headers["kv-context"]) == (200, b"\xff", context)
    events = (await served.call("GET", f"/watch?poll&values=text&since={cursor}")).json["events"]
    assert [(each["type"], each["siblings"]) for each in events] == [
        ("siblings", 1),
        ("siblings", 2),
    ]
    await served.call("PUT", "/kv/k", b"late")
    stays = await served.call("DELETE", "/kv/k", kv_context=context)
    assert (stays.status, stays.json["deleted"]) == (200, False)
    late = await both_lanes(served, "/kv/k")
    assert (late.status, late.body) == (200, b"late")
    put = await served.call("PUT", "/kv/k", b"all", kv_context=late.headers["kv-context"])
    assert put.status == 200
    assert (await both_lanes(served, "/kv/k")).body == b"all"
    assert (await served.call("GET", "/v1/kv/k?raw")).body == b"all"
    gone = await served.call("DELETE", "/kv/k")
    assert gone.json["deleted"]
    absent = await both_lanes(served, "/kv/k")
    assert (absent.status, "kv-context" in absent.headers) == (404, True)


async def test_each_sibling_has_a_time_to_live_of_its_own_and_the_key_that_of_the_last(
    served: Served,
) -> None:
    async def expires_ms() -> int | None:
        (listed,) = (await served.call("GET", "/kv")).json["entries"]
        found: int | None = listed["expires_ms"]
        return found

    first = await served.call("PUT", "/kv/k?type=siblings&ttl=1h", b"a")
    alone = await expires_ms()
    assert (first.status, alone is None) == (200, False)
    # by either way to a key that has siblings already
    assert (await served.call("PUT", "/kv/k?ttl=2h", b"b")).status == 200
    later = await expires_ms()
    assert alone is not None
    assert later is not None
    assert later - alone > 3_000_000
    await served.call("PUT", "/kv/k", b"c")
    assert await expires_ms() is None
    assert len((await served.call("GET", "/kv/k")).json["siblings"]) == 3


async def test_a_sibling_that_has_expired_beside_one_that_lives_is_shown_to_no_reader(
    served: Served,
) -> None:
    lives = siblings.put(empty(siblings.TYPE), dot_of(Version(1 << 20, 7)), b"lives")
    both = siblings.put(lives, dot_of(Version(2 << 20, 8)), b"expired", expires_ms=1)
    record = encode(both)
    await served.node.restore([("k", record)])
    assert served.node.record("k") == record

    shown = await both_lanes(served, "/kv/k")
    assert (shown.status, shown.body) == (200, b"lives")
    assert (await served.call("GET", "/kv/k?resolve=lww")).body == b"lives"
    (listed,) = (await served.call("GET", "/kv")).json["entries"]
    assert (listed["siblings"], listed["bytes"]) == (1, 5)
    (item,) = (await served.call("GET", "/v1/kv/?recurse")).json
    (alone,) = (await served.call("GET", "/v1/kv/k")).json
    assert b64decode(item["Value"]) == b64decode(alone["Value"]) == b"lives"
    entry = served.node.entry("k")
    assert entry is not None
    assert (entry.value, served.node["k"]) == (b"lives", b"lives")
    assert [each.value for each in served.node.scan()] == [b"lives"]


async def test_a_condition_is_about_the_content_and_not_the_version_alone(served: Served) -> None:
    made = await edit(served, "n", {"add": 1}, if_none_match="*")
    assert made.headers["kv-condition-scope"] == "node"
    tag = made.headers["etag"]
    assert tag.startswith(f'"{made.json["version"]}-')
    assert (await served.call("GET", "/kv/n", if_none_match=tag)).status == 304
    assert (await edit(served, "n", {"add": 1}, if_match=tag)).status == 200
    failed = await edit(served, "n", {"add": 1}, if_match=tag)
    assert failed.status == 412
    assert (await served.call("DELETE", "/kv/n", if_match=tag)).status == 412
    assert (await served.call("GET", "/kv/n")).json == 2
    assert (await served.call("DELETE", "/kv/n", if_match=failed.headers["etag"])).status == 200


async def test_what_changes_nothing_is_no_write(served: Served) -> None:
    nothing = await edit(served, "s", {"remove": ["x"]})
    assert (nothing.status, nothing.json["version"], nothing.json["value"]) == (200, None, None)
    made = await edit(served, "s", {"add": ["x"]})
    again = await edit(served, "s", {"remove": ["y"]})
    assert again.json == made.json
    waited = await edit(served, "s?wait=1", {"add": ["y"]})
    assert (waited.status, waited.json["met"]) == (200, True)


async def test_a_write_after_a_version_that_was_read_elsewhere_is_newer(served: Served) -> None:
    version = (await served.call("PUT", "/kv/k", b"x")).json["version"]
    later = f"{int(version[:16], 16) + (3 << 16):016x}-0000000000000007"
    for method, body in (("PUT", b"y"), ("DELETE", None)):
        done = await served.call(method, "/kv/k", body, kv_after=later)
        assert done.status == 200
        assert done.json["version"] > later


REFUSED: tuple[tuple[str, str, object, dict[str, str], int], ...] = (
    ("POST", "/kv/text", {"add": 1}, {}, 409),
    ("POST", "/kv/later", {"add": 1}, {}, 409),
    ("POST", "/kv/n", {"add": ["x"]}, {}, 409),
    ("POST", "/kv/n", {"add": 2**63}, {}, 400),
    ("POST", "/kv/n", {"add": True}, {}, 400),
    ("POST", "/kv/n", {"add": 1.5}, {}, 400),
    ("POST", "/kv/n", {}, {}, 400),
    ("POST", "/kv/n", {"add": 1, "max": 1}, {}, 400),
    ("POST", "/kv/n", {"max": 1, "field": "f"}, {}, 400),
    ("POST", "/kv/n", {"multiply": 2}, {}, 400),
    ("POST", "/kv/n?type=counter", {"add": 1}, {}, 400),
    ("POST", "/kv/new", {"add": [""]}, {}, 400),
    ("POST", "/kv/new", {"unset": []}, {}, 400),
    ("POST", "/kv/new", {"add": ["x" * 1000 + str(at) for at in range(70)]}, {}, 413),
    ("PUT", "/kv/n", b"text", {}, 409),
    ("PUT", "/kv/later", b"text", {}, 409),
    ("PUT", "/kv/text?type=siblings", b"x", {}, 409),
    ("PUT", "/kv/new?type=quantum", b"x", {}, 400),
    ("PUT", "/kv/new?type=counter", b"1", {}, 400),
    ("PUT", "/kv/full", b"one too many", {}, 409),
    ("PUT", "/kv/new", b"x", {"kv_context": "none"}, 400),
    ("PUT", "/kv/new", b"x", {"kv_context": "OF ANOTHER"}, 400),
    ("DELETE", "/kv/n", None, {"kv_context": "OF ANOTHER"}, 400),
    ("DELETE", "/kv/text", None, {"kv_context": "OF TEXT"}, 400),
    ("PUT", "/kv/text", b"x", {"kv_after": "1"}, 400),
    ("PUT", "/kv/text", b"x", {"kv_after": f"{'f' * 16}-{'0' * 16}"}, 400),
    ("PUT", "/kv/text", b"x", {"kv_after": f"{'0' * 16}-{'0' * 16}", "kv_context": "x"}, 400),
    ("PUT", "/kv/n", b"x", {"kv_after": f"{'0' * 16}-{'0' * 16}"}, 409),
    ("PUT", "/kv/.kvgossip/types/cart/", b"bag", {}, 400),
    ("PUT", "/v1/kv/.kvgossip/types/cart/", b"bag", {}, 400),
    ("GET", "/kv/n?resolve=oldest", None, {}, 400),
)


async def test_what_does_not_fit_is_refused_in_words_and_changes_nothing(serve: Serve) -> None:
    served = await serve(value_bytes_max=100_000)
    await served.call("PUT", "/kv/text", b"x")
    await edit(served, "n", {"add": 1})
    for number in range(SIBLINGS_MAX):
        await served.call("PUT", "/kv/full?type=siblings", str(number).encode())
    later = make_typed_record(bytes(7) + b"\1" + bytes(8), {"y": (9, "graph")}, b"?", deleted=False)
    await served.node.restore([("later", later)])
    shown = await both_lanes(served, "/kv/later")
    assert (shown.status, shown.body, shown.headers["kv-type"]) == (200, b"?", "unknown")
    contexts = {
        "OF ANOTHER": (await served.call("GET", "/kv/full")).json["context"],
        "OF TEXT": token_of("text", empty("siblings")),
    }
    before = served.node.root
    for method, target, body, headers, status in REFUSED:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {name: contexts.get(value, value) for name, value in headers.items()}
        answer = await served.call(method, target, data, **headers)
        assert answer.status == status, (method, target, body, headers, answer)
        assert answer.json["error"]
        assert answer.json["hint"], (method, target, body)
        assert served.node.root == before, (method, target)


async def test_keys_of_a_prefix_get_the_type_of_its_default_by_either_lane(served: Served) -> None:
    assert (await served.call("PUT", "/kv/.kvgossip/types/cart/", b"siblings")).status == 200
    headers: dict[str, str]
    for value, headers in ((b"a", {}), (b"b", OTHER_LANE)):
        put = await served.call("PUT", "/kv/cart/1", value, **headers)
        assert (put.status, put.headers["kv-type"]) == (200, "siblings")
    assert (await both_lanes(served, "/kv/cart/1")).status == 300
    assert (await served.call("PUT", "/v1/kv/cart/1", b"c")).json is True
    assert len((await served.call("GET", "/kv/cart/1")).json["siblings"]) == 3


async def test_who_may_write_and_not_read_adds_and_is_not_shown_the_sum(
    serve: Serve, tmp_path: Path
) -> None:
    rights = (Token("adder", write=("app/",)), Token("reader", read=("app/",)))
    path = tmp_path / "tokens"
    secrets = make_tokens(path, *rights)
    served = await serve(tokens=str(path))
    adder, reader = ({"authorization": f"Bearer {secrets[name]}"} for name in ("adder", "reader"))
    made = await edit(served, "app/n", {"add": 3}, **adder)
    assert (made.status, made.json["value"]) == (200, None)
    assert (await edit(served, "app/n", {"add": 3}, **reader)).status == 403
    assert (await edit(served, "other", {"add": 3}, **adder)).status == 403
    assert (await edit(served, "app/n", {"add": 3})).status == 401
    assert (await served.call("GET", "/kv/app/n", None, **reader)).json == 3


async def test_an_export_keeps_what_is_merged_and_an_import_joins_it(serve: Serve) -> None:
    one, other = await serve("n1"), await serve("n2")
    await edit(one, "n", {"add": 3})
    await edit(other, "n", {"add": 4})
    await one.call("PUT", "/kv/k?type=siblings", b"a")
    await other.call("PUT", "/kv/k?type=siblings", b"b")
    entries = [pair async for chunk in one.node.snapshot() for pair in chunk]
    archive = archived(entries)
    imported = await other.call("POST", "/import", b"".join(archive[1:-1]))
    assert imported.status == 200, imported
    assert (await other.call("GET", "/kv/n")).json == 7
    assert len((await other.call("GET", "/kv/k")).json["siblings"]) == 2
