"""Who follows nodes over HTTP: real servers, real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kvgossip import ConfigCache, Writing
from kvgossip.api.tls.certificates import Certificates
from kvgossip.cache.kept_file import read_kept
from kvgossip.cache.source import Record
from kvgossip.cache.url_source import UrlSource
from kvgossip.errors import (
    BadBatchError,
    ConfigError,
    LocalError,
    NoMemberError,
    ValueTooLargeError,
)
from tests.api.access.tokens_file import KINDS, make_tokens
from tests.api.serving import NOBODY, Serve, Served
from tests.api.tls.files import ca_of, made
from tests.cache.sinks import PATIENCE_S, Remembering

GREETING = b"HTTP/1.1 200 OK\r\nKV-Settled: true\r\nKV-Synced-Age: 7\r\nKV-Node: n9\r\n\r\n"


def url_of(served: Served) -> str:
    host, port = served.server.address
    return f"http://{host}:{port}"


@asynccontextmanager
async def following(
    *urls: str, prefix: str = "a/", **options: Any
) -> AsyncIterator[tuple[UrlSource, Remembering]]:
    source, sink = UrlSource(urls, prefix, **options), Remembering()
    await asyncio.to_thread(source.open, sink)
    try:
        yield source, sink
    finally:
        await asyncio.to_thread(source.close)


async def until(sink: Remembering, so: Callable[[Remembering], bool]) -> None:
    await asyncio.to_thread(sink.until, so)


async def written(source: UrlSource, *writes: Writing) -> tuple[str, ...]:
    return await asyncio.wait_for(asyncio.wrap_future(source.write(writes)), PATIENCE_S)


def settled(sink: Remembering) -> bool:
    return bool(sink.states) and sink.states[-1].settled


async def test_all_that_is_there_comes_and_then_what_changes(serve: Serve) -> None:
    served = await serve(zone="paris")
    await served.node.put("a/1", b"x", content_type="text/plain")
    await served.node.put("b/1", b"y")
    async with following(url_of(served)) as (_, sink):
        assert sink.table == {"a/1": b"x"}
        state = sink.states[-1]
        assert (state.role, state.node, state.zone) == ("follower", "n1", "paris")
        assert (state.datacenter, state.settled, state.from_disk) == ("dc1", True, False)
        await served.node.put("a/2", b"\xff\0")
        await until(sink, lambda each: each.table == {"a/1": b"x", "a/2": b"\xff\0"})
        await served.node.delete("a/1")
        await until(sink, lambda each: each.table == {"a/2": b"\xff\0"})
    assert [call for call, _ in sink.calls] == ["replaced", "changed", "changed"]


async def test_a_batch_comes_as_one_set_however_long_it_is(serve: Serve) -> None:
    """More than a node writes to a stream at a time."""
    served = await serve()
    async with following(url_of(served)) as (_, sink):
        for round_ in range(5):
            writes = [Writing(f"a/{n:03}", b"x" * 900 + bytes([round_])) for n in range(250)]
            await served.node.batch(writes)
        await until(sink, lambda each: bool(each.table) and each.table["a/249"][-1:] == b"\4")  # type: ignore[index]
    assert {len(keys) for call, keys in sink.calls if call == "changed"} == {250}


async def test_who_falls_behind_gets_whole_sets_too(serve: Serve) -> None:
    served = await serve(feed_changes_max=100_000)
    async with following(url_of(served)) as (_, sink):
        # the source is held while it shows the first of them
        held = threading.Event()
        sink.changed = waiting_for(held, sink.changed)  # type: ignore[method-assign]
        for round_ in range(40):
            writes = [Writing(f"a/{n:03}", b"x" * 900 + bytes([round_])) for n in range(250)]
            await served.node.batch(writes)
        held.set()
        await until(sink, lambda each: bool(each.table) and each.table["a/249"][-1:] == b"\x27")  # type: ignore[index]
    assert {len(keys) for call, keys in sink.calls if call == "changed"} == {250}


def waiting_for(event: threading.Event, function: Callable[..., None]) -> Callable[..., None]:
    def wait_first(*arguments: Any) -> None:
        event.wait(PATIENCE_S)
        function(*arguments)

    return wait_first


async def test_it_writes_over_http_and_hears_versions_and_errors(serve: Serve) -> None:
    served = await serve()
    async with following(url_of(served)) as (source, sink):
        (version,) = await written(source, Writing("a/ä?", b"1", "text/plain", 3600.0))
        entry = served.node.entry("a/ä?")
        assert entry is not None
        assert (entry.value, str(entry.version), entry.content_type) == (
            b"1",
            version,
            "text/plain",
        )
        assert entry.expires_ms is not None
        versions = await written(
            source, Writing("a/1", b"\xff", None, 0.5, 7), Writing("a/none", None)
        )
        entry = served.node.entry("a/1")
        assert entry is not None
        assert (versions, entry.flags) == ((str(entry.version), ""), 7)
        assert await written(source, Writing("a/none", None)) == ("",)
        (gone,) = await written(source, Writing("a/ä?", None))
        assert gone > version
        await until(sink, lambda each: each.table.keys() == {"a/1"})
        with pytest.raises(LocalError, match="climbs"):
            await written(source, Writing("a/..", b"1"))
        with pytest.raises(ValueTooLargeError):
            await written(source, Writing("a/1", b"x" * 3000))
        with pytest.raises(BadBatchError):
            await written(source, Writing("a/1", b"1"), Writing("a/1", b"2"))


async def test_writes_are_made_in_their_order(serve: Serve) -> None:
    served = await serve()
    async with following(url_of(served)) as (source, _):
        futures = [source.write([Writing("a/1", str(n).encode())]) for n in range(50)]
        versions = [(await asyncio.wrap_future(future))[0] for future in futures]
    assert versions == sorted(versions)
    assert served.node.get("a/1") == b"49"


async def test_the_next_node_is_followed_when_one_is_gone(serve: Serve) -> None:
    first, second = await serve("n1"), await serve("n2")
    await first.node.put("a/1", b"x")
    await second.node.put("a/2", b"y")
    async with following(url_of(first), url_of(second)) as (source, sink):
        assert sink.table == {"a/1": b"x"}
        await first.server.stop()
        await until(sink, lambda each: each.table == {"a/2": b"y"} and settled(each))
        assert sink.states[-1].node == "n2"
        assert any(
            "is not followed" in each.problem or "ended" in each.problem for each in sink.states
        )
        await written(source, Writing("a/3", b"z"))
        assert second.node.get("a/3") == b"z"
        await second.server.stop()
        await until(sink, lambda each: not settled(each))
        assert sink.table == {"a/2": b"y", "a/3": b"z"}
        with pytest.raises(NoMemberError, match="no node is reached"):
            await written(source, Writing("a/4", b"z"))


async def test_a_node_that_has_not_settled_takes_nothing_away(serve: Serve) -> None:
    """It tells nothing before it has."""
    served = await serve("n2", join=(NOBODY,), founding_s=3600.0)
    async with following(url_of(served)) as (_, sink):
        await until(sink, lambda each: "has not settled" in each.problem)
        assert sink.calls == []
        served.node.settle()
        await until(sink, lambda each: each.calls == [("replaced", ())] and settled(each))


async def test_tokens_and_what_they_may_not(serve: Serve, tmp_path: Path) -> None:
    secrets = make_tokens(tmp_path / "tokens", *KINDS.values())
    served = await serve(tokens=str(tmp_path / "tokens"))
    await served.node.put("app/1", b"x")
    async with following(url_of(served), prefix="app/", token=secrets["reader"]) as (_, sink):
        assert sink.table == {"app/1": b"x"}
    async with following(url_of(served), prefix="app/", token=secrets["writer"]) as (source, sink):
        await until(sink, lambda each: "may not read" in each.problem or "right" in each.problem)
        assert sink.calls == []
        await written(source, Writing("app/2", b"y"))
    async with following(url_of(served), prefix="app/") as (_, sink):
        await until(sink, lambda each: "token" in each.problem)


async def test_tls_with_the_ca_that_is_named_and_with_no_other(
    serve: Serve, tmp_path: Path
) -> None:
    files = made(tmp_path)
    served = await serve(certificates=Certificates(files))
    await served.node.put("a/1", b"x")
    url = f"https://localhost:{served.server.address[1]}"
    async with following(url, ca=ca_of(files)) as (source, sink):
        assert sink.table == {"a/1": b"x"}
        await written(source, Writing("a/2", b"y"))
        await until(sink, lambda each: len(each.table) == 2)
    async with following(url) as (_, sink):
        await until(sink, lambda each: "CERTIFICATE_VERIFY_FAILED" in each.problem)
        assert sink.calls == []
    with pytest.raises(ConfigError, match="cannot read a CA"):
        UrlSource([url], "a/", ca=str(tmp_path / "none.pem"))


@pytest.mark.parametrize(
    "url", ["ftp://a", "http://", "http://a:x", "http://a:99999", "https://a?b=c", "unix://"]
)
def test_what_is_no_url_of_a_node_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"URL|unix socket") as caught:
        UrlSource([url], "a/")
    assert "unix:" in caught.value.hint
    with pytest.raises(ConfigError, match="no URL"):
        UrlSource([], "a/")


# -- the file --------------------------------------------------------------------------------------


async def test_the_last_known_good_outlasts_the_process_and_all_nodes(
    serve: Serve, tmp_path: Path
) -> None:
    served, file = await serve(), tmp_path / "kept"
    await served.node.put("a/1", b"x")
    async with following(url_of(served), file=file) as (_, sink):
        await served.node.put("a/2", b"y")
        await until(sink, lambda each: len(each.table) == 2)
    async with following("http://127.0.0.1:1", file=file) as (_, sink):
        assert sink.table == {"a/1": b"x", "a/2": b"y"}
        await until(sink, lambda each: "127.0.0.1:1 is not followed" in each.problem)
        assert (sink.states[-1].from_disk, sink.states[-1].settled) == (True, False)
    # who comes back to the same node goes on after what it has
    await served.node.put("a/2", b"z")
    async with following(url_of(served), file=file) as (_, sink):
        await until(sink, settled)
        await until(sink, lambda each: each.table == {"a/1": b"x", "a/2": b"z"})
        assert [call for call, _ in sink.calls] == ["replaced", "changed"]
        assert not sink.states[-1].from_disk


# -- nodes that lie --------------------------------------------------------------------------------


@contextmanager
def speaking(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives these answers, one for each connection, and closes it; and the heads of
    the requests."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    heads.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
        thread.join(PATIENCE_S)


def put(key: str, value: str, cursor: str, more: str = "false") -> bytes:
    data = f'{{"key":"{key}","version":"v{cursor}","value":"{value}","more":{more}}}'
    return f"id: {cursor}\nevent: put\ndata: {data}\n\n".encode()


ALL = b"id: 0\n\nid: 0\nevent: resync\ndata: {}\n\n" + put("a/1", "MQ==", "1-1")
SYNCED = b"id: 1-1\nevent: synced\ndata: {}\n\n"


def test_it_goes_on_after_the_last_whole_set_that_it_had() -> None:
    """A cursor in the middle of one would lose its first half."""
    first = GREETING + ALL + SYNCED + put("a/2", "Mg==", "1-2", more="true")
    then = (
        GREETING + b"id: 1-1\n\n" + put("a/2", "Mg==", "1-2", more="true") + put("a/3", "", "1-3")
    )
    with speaking(first, then) as (url, heads):
        source, sink = UrlSource([url], "a/"), Remembering()
        source.open(sink)
        sink.until(lambda each: len(each.table) == 3)
        source.close()
    assert sink.calls == [("replaced", ("a/1",)), ("changed", ("a/2", "a/3"))]
    assert [b"Last-Event-ID: 0" in heads[0], b"Last-Event-ID: 1-1" in heads[1]] == [True, True]


def test_the_age_of_the_data_is_that_which_the_node_says() -> None:
    with speaking(GREETING + ALL + SYNCED) as (url, _):
        source, sink = UrlSource([url], "a/"), Remembering()
        source.open(sink)
        sink.until(lambda each: any(state.settled for state in each.states))
        state = next(each for each in sink.states if each.settled)
        source.close()
    assert state.node == "n9"
    assert state.exchanged_ms is not None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 503 No\r\n\r\n{",
        b"HTTP/1.1 404 No\r\n\r\n[]",
        GREETING + b"event: put\ndata: {}\n\n",
        GREETING + ALL + b"event: put\ndata: {\n\n",
        GREETING + ALL + b"event: cut\ndata: []\n\n",
        GREETING + b"id: \xff\n\n",
        GREETING + ALL,
    ],
)
def test_a_node_that_talks_nonsense_is_left_and_the_next_one_followed(answer: bytes) -> None:
    with speaking(answer, GREETING + ALL + SYNCED) as (url, _):
        source, sink = UrlSource([url], "a/"), Remembering()
        source.open(sink)
        sink.until(lambda each: each.table == {"a/1": b"1"})
        assert next(each for each in sink.states if each.problem).problem
        source.close()
    assert sink.calls == [("replaced", ("a/1",))]


def test_a_file_of_another_prefix_is_not_believed(tmp_path: Path) -> None:
    with speaking(GREETING + ALL + SYNCED) as (url, _):
        source, sink = UrlSource([url], "a/", file=tmp_path / "kept"), Remembering()
        source.open(sink)
        sink.until(lambda each: bool(each.table))
        source.close()
    kept = read_kept(tmp_path / "kept", "a/")
    assert kept is not None
    assert kept.records == [Record("a/1", b"1", "v1-1")]
    other, sink = UrlSource(["http://127.0.0.1:1"], "b/", file=tmp_path / "kept"), Remembering()
    other.open(sink)
    other.close()
    assert sink.calls == []


# -- as a cache ------------------------------------------------------------------------------------


async def test_a_cache_that_follows_reads_writes_and_keeps_its_values(
    serve: Serve, tmp_path: Path
) -> None:
    served = await serve()
    await served.node.put("shop/theme", b"dark")
    options: dict[str, Any] = {"file": tmp_path / "kept", "defaults": {"theme": "light"}}
    async with ConfigCache.follow([url_of(served)], "shop/", **options) as config:
        assert config["theme"] == "dark"
        assert (config.status().role, config.status().source) == ("follower", "peers")
        changes = config.changes("limits/rate")
        await config.aput("limits/rate", 10)
        assert (await anext(changes)).new == 10
        assert served.node.get("shop/limits/rate") == b"10"
    async with ConfigCache.follow("127.0.0.1:1", "shop/", **options) as config:
        assert dict(config.snapshot()) == {"theme": "dark", "limits/rate": 10}
        status = config.status()
        assert (status.source, status.settled) == ("disk", False)
        assert "127.0.0.1:1 is not followed" in status.problem
    with pytest.raises(ConfigError):
        ConfigCache.follow("ftp://a", "shop/")


async def test_what_nodes_merge_is_read_as_what_it_is(serve: Serve) -> None:
    served = await serve()
    await served.node.set("shop/tags").add("x", "y")
    await served.node.map("shop/limits").put("rate", 10)
    await served.node.put("shop/cart", b"tea", siblings=True)
    async with ConfigCache.follow([url_of(served)], "shop/") as config:
        found = {"cart": "tea", "limits": {"rate": 10}, "tags": frozenset("xy")}
        assert dict(config.snapshot()) == found
        changes = config.changes("hits")
        await served.node.counter("shop/hits").add(3)
        assert (await asyncio.wait_for(anext(changes), PATIENCE_S)).new == 3
