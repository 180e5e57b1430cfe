"""Lists: made once for all who ask for the same, written in portions, and refused where too many
wait."""

from __future__ import annotations

import asyncio
import json

import pytest

from kvgossip.api import listings
from kvgossip.api.http.room import LONG_BYTES
from kvgossip.api.listings import Listing
from kvgossip.api.routes import watch
from kvgossip.api.routes.consul_form import Entries
from kvgossip.api.routes.watch_event import Form, chosen
from kvgossip.runtime.changes.follower import Event
from tests.api.serving import Serve, Served

TIMEOUT_S = 30.0
KEYS = 300
"""With values of VALUE bytes: a dozen portions."""
VALUE = b"v" * 2000
ROOM = 64 * 1024


async def fill(served: Served, keys: int = KEYS) -> None:
    for number in range(keys):
        await served.node.put(f"big/{number:04}", VALUE)


async def chunks_of(reader: asyncio.StreamReader) -> list[bytes]:
    """The chunks of an answer whose head comes first."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200")
    assert b"transfer-encoding: chunked" in head
    assert b"content-length" not in head
    chunks = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    assert await reader.readexactly(2) == b"\r\n"
    return chunks


async def ask(
    served: Served, target: str, method: str = "GET"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await served.connect()
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: n\r\n\r\n".encode())
    return reader, writer


async def test_a_long_list_comes_in_portions_and_the_connection_stays(served: Served) -> None:
    await fill(served)
    reader, writer = await ask(served, "/v1/kv/big/?recurse")
    for target in ("/v1/kv/big/?recurse&pretty", "/v1/kv/big/?recurse"):
        chunks = await chunks_of(reader)
        assert all(len(chunk) < 2 * LONG_BYTES for chunk in chunks)
        assert len(chunks) > 5
        document = json.loads(b"".join(chunks))
        assert [item["Key"] for item in document] == [f"big/{number:04}" for number in range(KEYS)]
        writer.write(f"GET {target} HTTP/1.1\r\nHost: n\r\n\r\n".encode())
    await chunks_of(reader)
    writer.close()


async def test_a_long_list_of_names_is_the_same_in_portions(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{first}/{second}" for first in "abc" for second in range(9)] + ["d"]
    for key in keys:
        await served.node.put(key, b"1")
    whole = [
        (target, (await served.call("GET", target)).json)
        for target in (
            "/v1/kv/?keys",
            "/v1/kv/?keys&separator=/",
            "/v1/kv/?keys&separator=/&pretty",
        )
    ]
    assert whole[1][1] == ["a/", "b/", "c/", "d"]
    monkeypatch.setattr(listings, "PORTION_BYTES", 300)
    for target, names in whole:
        reader, writer = await ask(served, target)
        assert json.loads(b"".join(await chunks_of(reader))) == names
        writer.close()


async def test_to_http_1_0_a_long_list_ends_with_the_connection(served: Served) -> None:
    await fill(served)
    reader, writer = await served.connect()
    writer.write(b"GET /v1/kv/big/?recurse HTTP/1.0\r\nHost: n\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"chunked" not in head
    assert len(json.loads(await reader.read())) == KEYS
    writer.close()


async def test_the_head_of_a_long_list_comes_alone_where_only_that_is_asked_for(
    served: Served,
) -> None:
    await fill(served)
    reader, writer = await ask(served, "/v1/kv/big/?recurse", "HEAD")
    assert b"chunked" in (await reader.readuntil(b"\r\n\r\n")).lower()
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_who_waits_for_one_change_gets_one_list_whose_text_is_made_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(served)
    made: list[Listing] = []
    texts: list[int] = []
    init, text = Listing.__init__, Entries.text

    def counted(self: Listing, room: object) -> None:
        init(self, room)  # type: ignore[arg-type]
        made.append(self)

    def encoded(self: Entries, listing: Listing, start: int, end: int) -> bytes:
        texts.append(start)
        return text(self, listing, start, end)

    index = (await served.call("HEAD", "/v1/kv/big/?keys")).headers["x-consul-index"]
    monkeypatch.setattr(Listing, "__init__", counted)
    monkeypatch.setattr(Entries, "text", encoded)
    watchers = [await ask(served, f"/v1/kv/big/?recurse&index={index}") for _ in range(20)]
    async with asyncio.timeout(TIMEOUT_S):
        while served.server._watching.statistics()["polls"] < len(watchers):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await served.node.put("big/0007", b"new")
    answers = await asyncio.gather(*(chunks_of(reader) for reader, _ in watchers))
    assert len(made) == 1
    assert len(texts) == len(set(texts))
    assert all(answer == answers[0] for answer in answers)
    assert b'"bmV3"' in answers[0][1]
    for _, writer in watchers:
        writer.close()


async def test_a_list_has_what_was_written_before_it_was_asked_for(served: Served) -> None:
    """Also where another one is still being read, or made."""
    await fill(served)
    slow = await ask(served, "/v1/kv/big/?recurse")
    await slow[0].readuntil(b"\r\n\r\n")
    for number in range(5):
        await served.node.put("big/0000", b"%d" % number)
        reader, writer = await ask(served, "/v1/kv/big/?recurse")
        first = json.loads(b"".join(await chunks_of(reader)))[0]
        assert first["Value"] in ("MA==", "MQ==", "Mg==", "Mw==", "NA==")
        assert served.node.get("big/0000") == b"%d" % number
        assert first["Value"] == ["MA==", "MQ==", "Mg==", "Mw==", "NA=="][number]
        writer.close()
    slow[1].close()


async def test_too_many_lists_that_wait_are_refused_and_go_on_when_there_is_room(
    serve: Serve,
) -> None:
    served = await serve(http_answers_bytes_max=ROOM, value_bytes_max=2**20)
    for prefix in ("a", "b"):
        for number in range(8):
            await served.node.put(f"{prefix}/{number}", b"v" * 2**20)
    room = served.server._connections.room
    # the only one may be longer than the room; its client takes the head, and no more
    reader, writer = await ask(served, "/v1/kv/a/?recurse")
    await reader.readuntil(b"\r\n\r\n")
    held = room.held
    assert held > 8 * 2**20
    for target in ("/v1/kv/b/?recurse", "/v1/kv/?recurse"):
        refused = await served.call("GET", target)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "http_answers_bytes_max" in refused.json["hint"]
    # the same list needs no more room
    same, other = await ask(served, "/v1/kv/a/?recurse")
    assert len(json.loads(b"".join(await chunks_of(same)))) == 8
    assert room.refused == 2
    assert room.held < 2 * held
    writer.close()
    other.close()
    async with asyncio.timeout(TIMEOUT_S):
        while room.held:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.005)
    reader, writer = await ask(served, "/v1/kv/b/?recurse")
    assert len(json.loads(b"".join(await chunks_of(reader)))) == 8
    writer.close()


async def test_long_answers_of_other_routes_take_room_and_give_it_back(serve: Serve) -> None:
    served = await serve(http_answers_bytes_max=ROOM, value_bytes_max=2**20)
    await served.node.put("a", b"v" * 2**20)
    await served.node.put("b", b"new")
    reader, writer = await ask(served, "/v1/kv/a?raw")
    await reader.readuntil(b"\r\n\r\n")
    refused = await served.call("GET", "/v1/kv/a")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert (await served.call("GET", "/v1/kv/b?raw")).body == b"new"
    assert await reader.readexactly(2**20) == b"v" * 2**20
    async with asyncio.timeout(TIMEOUT_S):
        while served.server._connections.room.held:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.005)
    assert (await served.call("GET", "/v1/kv/a")).status == 200
    writer.close()


async def test_who_polls_for_the_same_change_gets_one_answer_that_is_made_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(events: list[Event], form: Form) -> list[Event]:
        made.append(len(events))
        return chosen(events, form)

    monkeypatch.setattr(watch, "chosen", counted)
    cursor = served.node.feed.cursor()
    polls = [
        asyncio.create_task(
            served.call("GET", f"/watch?poll=1&prefix=a/&values={values}&since={cursor}")
        )
        for values in ("text", "text", "text", "none")
    ]
    async with asyncio.timeout(TIMEOUT_S):
        while served.server._watching.statistics()["polls"] < len(polls):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await served.node.put("a/1", b"new")
    *same, other = await asyncio.gather(*polls)
    assert [event["value"] for event in same[0].json["events"]] == ["new"]
    assert all(reply.body == same[0].body for reply in same)
    assert "value" not in other.json["events"][0]
    assert made == [1, 1]
