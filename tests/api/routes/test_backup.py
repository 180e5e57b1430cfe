"""Exports and imports: the entries of one moment, whole or not at all; and the quarantine beside
them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import socket
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvgossip.cli
from kvgossip.api.archive import ArchiveError, Checker, Contents, Writer, parse_lines, split_lines
from kvgossip.api.listening import listen
from kvgossip.api.server import ApiServer
from kvgossip.client.failures import RefusedError
from kvgossip.config import Address
from kvgossip.errors import NotFoundError, NotSettledError
from kvgossip.protocol.effect import Dropped, Quarantined
from kvgossip.protocol.merging import Origin, Outcome, Spread
from kvgossip.protocol.model.entry import Version, entry_of, make_record
from kvgossip.protocol.model.hlc import milliseconds_of, timestamp_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from kvgossip.runtime.changes import snapshot as snapshot_module
from kvgossip.runtime.changes.snapshot import Snapshot
from kvgossip.runtime.clocks import read_clocks
from kvgossip.runtime.disk.quarantine import Quarantine
from kvgossip.runtime.node import Node
from tests.asking import AsyncClient
from tests.protocol.net import WALL_MS, at, changed, make_replica, record, version
from tests.runtime.test_node import TIMEOUT_S, configured, until, until_value

FAR_AHEAD_MS = 3_600_000


# -- snapshots -----------------------------------------------------------------------------------


@given(
    before=st.lists(st.sampled_from("abcdefgh"), max_size=8, unique=True),
    meanwhile=st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abcdefghij"))),
    reseeded_at=st.integers(0, 20),
)
def test_a_snapshot_is_what_there_was_whatever_happens_while_it_is_read(
    before: list[str], meanwhile: list[tuple[int, str]], reseeded_at: int
) -> None:
    store = Store(DigestTree(1, 7))
    for number, key in enumerate(before):
        store.merge(key, record(None if number % 3 == 2 else b"old", ms=number))
    expected = sorted(store.records())
    snapshot = Snapshot(store)
    found: list[tuple[str, bytes]] = []
    newest_ms = 1000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot_module, "CHUNK_ENTRIES", 1)
        patch.setattr(snapshot_module, "CHUNK_BUCKETS", 1)
        for turn, chunk in enumerate(snapshot.chunks()):
            found += chunk
            if turn == reseeded_at:
                store.reseed(8)
            for when, key in meanwhile:
                if when == turn % 13:
                    newest_ms += 1
                    news = store.merge(key, record(b"new", ms=newest_ms))
                    assert news is not None
                    snapshot.changed(key, news.old_record)
    assert found == expected


def test_what_is_dropped_before_its_turn_is_still_in_the_snapshot() -> None:
    store = Store(DigestTree(1, 7))
    for key in "abc":
        store.merge(key, record(b"v"))
    snapshot = Snapshot(store)
    dropped = store["b"]
    # as the store will be once the record was collected
    store._tables.pop(store.digest.hash_of("b"), "b")
    snapshot.changed("b", dropped)
    assert [key for chunk in snapshot.chunks() for key, _ in chunk] == ["a", "b", "c"]


async def test_writes_during_an_export_are_not_in_it_and_it_leaves_nothing_behind() -> None:
    async with Node(configured()) as node:
        for number in range(10):
            await node.put(f"key-{number}", b"old")
        chunks = node.snapshot()
        found = await anext(chunks)
        await node.put("key-5", b"new")
        await node.delete("key-6")
        await node.put("later", b"new")
        found += [pair async for chunk in chunks for pair in chunk]
        assert [(key, entry_of(key, record).value) for key, record in found] == [
            (f"key-{number}", b"old") for number in range(10)
        ]
        assert node._running.publisher.snapshots == []
        abandoned = node.snapshot()
        await anext(abandoned)
        await abandoned.aclose()
        assert node._running.publisher.snapshots == []


async def test_a_node_that_has_not_settled_is_not_exported() -> None:
    async with Node(configured(join=("127.0.0.1:1",))) as node:
        with pytest.raises(NotSettledError):
            node.snapshot()


# -- archives ------------------------------------------------------------------------------------


def archived(entries: list[tuple[str, bytes]]) -> list[bytes]:
    writer = Writer()
    data = writer.head("shop", "n1", 0) + writer.lines(entries) + writer.last()
    return list(split_lines(data))


def checked(lines: list[bytes]) -> Contents:
    checker = Checker()
    for line in lines:
        checker.line(line)
    return checker.contents()


SOME = [
    ("a", record(b"\x00\xff")),
    ("dead", record(None, ms=1)),
    ("ç \n", record(b"1", ms=2, content_type="text/plain")),
]


def test_an_archive_holds_every_byte_of_every_record() -> None:
    lines = archived(SOME)
    assert checked(lines)[1:] == (3, 1)
    assert parse_lines(lines[1:-1]) == SOME
    assert json.loads(lines[2])["deleted"] is True
    assert checked(archived([]))[1:] == (0, 0)


@given(st.data())
def test_an_archive_that_was_damaged_anywhere_is_refused(data: st.DataObject) -> None:
    whole = b"".join(archived(SOME))
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ArchiveError):
        checked(list(split_lines(bytes(damaged))))


@given(st.integers(0, 10_000))
def test_an_archive_that_was_cut_anywhere_is_refused(place: int) -> None:
    whole = b"".join(archived(SOME))
    with pytest.raises(ArchiveError):
        checked(list(split_lines(whole[: place % (len(whole) - 1)])))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: [*lines, lines[1]], "after the end"),
        (
            lambda lines: [b'{"kvgossip": "export", "format": 3}\n', *lines[1:]],
            "has format 3, and this version knows format 2",
        ),
        (lambda lines: [b"[]\n", *lines[1:]], "not an export of kvgossip"),
        (
            lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
            "the checksum at the end does not match",
        ),
        (
            lambda lines: [lines[0], lines[1].replace(b'"a"', b'"../a"'), *lines[2:]],
            "line 2: not an entry: the key",
        ),
        (
            lambda lines: [
                lines[0],
                lines[2].replace(b'"deleted":true', b'"deleted":false'),
                *lines[3:],
            ],
            "line 2: the record of 'dead' does not match",
        ),
        (
            lambda lines: [lines[0], lines[1].replace(b'"a"', b'"b"'), *lines[2:]],
            "line 2: the checksum of 'b' does not match its record",
        ),
        (
            lambda lines: [lines[0], re.sub(b',"checksum":"[0-9a-f]+"', b"", lines[1]), *lines[2:]],
            "line 2: the checksum of 'a' does not match its record",
        ),
    ],
)
def test_a_damaged_archive_is_refused_with_its_damage(
    change: Callable[[list[bytes]], list[bytes]], reason: str
) -> None:
    with pytest.raises(ArchiveError, match=reason):
        checked(change(archived(SOME)))


def test_a_line_by_itself_shows_its_damage() -> None:
    _, line, *_ = archived(SOME)
    assert parse_lines([line]) == SOME[:1]
    damaged = json.loads(line)
    damaged["record"] = b64encode(record(b"\x00\xfe")).decode()
    with pytest.raises(ArchiveError, match="the checksum of 'a' does not match its record"):
        parse_lines([json.dumps(damaged).encode()])


OF_FORMAT_1 = [
    b'{"kvgossip": "export", "format": 1, "cluster": "c", "node": "n1", "wall_ms": 1}\n',
    b'{"key":"a","version":"018bcfe568000000-0000000000000001",'
    b'"record":"EAGLz+VoAAAAAAAAAAAAAAExMg=="}\n',
    b'{"key":"dead","version":"018bcfe568010000-0000000000000001",'
    b'"record":"EQGLz+VoAQAAAAAAAAAAAAE=","deleted":true}\n',
]
"""By kvgossip 0.1.0, without the last line."""


def of_format_1() -> list[bytes]:
    sha256 = hashlib.sha256(b"".join(OF_FORMAT_1)).hexdigest()
    return [*OF_FORMAT_1, b'{"entries":2,"sha256":"%s"}\n' % sha256.encode()]


def test_an_archive_of_format_1_is_read_without_checksums() -> None:
    lines = of_format_1()
    assert checked(lines)[1:] == (2, 1)
    assert parse_lines(lines[1:-1]) == [("a", record(b"12")), ("dead", record(None, ms=1))]


# -- restoring -----------------------------------------------------------------------------------

FROM_B = Origin(Peer(PoolKind.LAN, "b"), Spread.NONE)


def test_restored_entries_keep_their_versions_and_never_win_over_what_is_newer() -> None:
    replica = make_replica()
    replica.merging.merge("key", record(b"newer", ms=5), at(), FROM_B)
    effects, outcomes = replica.restore(
        [("key", record(b"older")), ("gone", record(None, ms=1)), ("new", record(b"1", ms=2))], at()
    )
    assert outcomes == [Outcome.KNOWN, Outcome.NEWS, Outcome.NEWS]
    assert replica.store.value("key") == b"newer"
    assert [effect.new.version for effect in changed(effects)[-2:]] == [version(1), version(2)]
    assert replica.restore([("new", record(b"1", ms=2))], at())[1] == [Outcome.KNOWN]


def test_values_that_are_restored_as_new_win_over_everything_and_keep_what_they_carry() -> None:
    replica = make_replica()
    replica.merging.merge("key", record(b"newer", ms=5), at(), FROM_B)
    archive = [("key", record(b"older", content_type="text/plain")), ("gone", record(None))]
    _, outcomes = replica.restore(archive, at(), as_new=True)
    entry = replica.store.get("key")
    assert outcomes == [Outcome.NEWS, Outcome.KNOWN]
    assert entry is not None
    assert (entry.value, entry.content_type, entry.version.site) == (
        b"older",
        "text/plain",
        replica.site,
    )
    assert replica.store.visible("gone") is None


@pytest.mark.parametrize(
    ("ahead_ms", "refused"), [(1000, False), (1001, True), (FAR_AHEAD_MS, True)]
)
def test_a_backup_does_not_take_clocks_along_by_more_than_a_second(
    ahead_ms: int, refused: bool
) -> None:
    replica = make_replica()
    backup = [("key", record(b"1", ms=ahead_ms)), ("other", record(b"2"))]
    outcomes = replica.restore(backup, at())[1]
    assert outcomes == [Outcome.REFUSED if refused else Outcome.NEWS, Outcome.NEWS]
    assert milliseconds_of(replica.hlc.latest) == WALL_MS + (0 if refused else ahead_ms)


# -- over HTTP -----------------------------------------------------------------------------------


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[Node, AsyncClient]]:
    async with Node(configured(**settings)) as node:
        server = ApiServer(node, listen(Address("127.0.0.1", 0)))
        await server.start()
        try:
            async with AsyncClient(f"http://{server.address}") as client:
                yield node, client
        finally:
            await server.stop()


async def exported(client: AsyncClient) -> list[bytes]:
    return list(split_lines(b"".join([piece async for piece in client.export()])))


@pytest.mark.parametrize("durable", [False, True])
async def test_what_was_exported_is_imported_elsewhere_with_its_versions(
    tmp_path: Path, durable: bool
) -> None:
    settings = {"data_dir": str(tmp_path / "n1")} if durable else {}
    async with served(name="n1", **settings) as (one, source):
        for number in range(2500):
            await one.put(f"key-{number}", b"v")
        lines = await exported(source)
    assert checked(lines)[1:] == (2500, 0)
    async with served(name="n2") as (other, target), Node(configured("n3", other)) as peer:
        await peer.wait_settled(TIMEOUT_S)
        answer = await target.import_lines(b"".join(lines[1:-1]), False)
        assert answer == {"entries": 2500, "outcomes": {"news": 2500}}
        assert (await exported(target))[1:-1] == lines[1:-1]
        assert (await target.import_lines(b"".join(lines[1:-1]), False))["outcomes"] == {
            "known": 2500
        }
        await until_value(peer, "key-2499", b"v")


async def test_a_batch_with_one_bad_line_changes_nothing() -> None:
    lines = archived(SOME)[1:-1]
    async with served() as (node, client):
        for bad in (b"{}\n", b"garbage", lines[0].replace(b'"a"', b'"/a"')):
            with pytest.raises(RefusedError, match="not an entry"):
                await client.import_lines(b"".join([*lines, bad]), False)
        with pytest.raises(RefusedError, match="neither true nor false"):
            await client._call("POST", "/import?as_new=perhaps", b"")
        assert node.status()["statistics"]["entries"] == 0


async def test_a_value_that_is_larger_than_the_node_takes_is_refused() -> None:
    lines = archived([("big", make_record(version(), bytes(9000)))])[1:-1]
    async with served(value_bytes_max=1000) as (_, client):
        with pytest.raises(RefusedError, match="more than"):
            await client.import_lines(b"".join(lines), False)


async def test_an_export_that_nobody_reads_to_its_end_costs_nothing_afterwards() -> None:
    async with served(value_bytes_max=10**6) as (node, client):
        for number in range(40):
            await node.put(f"key-{number}", random.Random(number).randbytes(500_000))
        pieces = client.export()
        await anext(pieces)
        # a client asks one question at a time
        async with AsyncClient(client.url) as other:
            with pytest.raises(RefusedError, match="exported already"):
                await exported(other)
        await pieces.aclose()
        async with asyncio.timeout(TIMEOUT_S):
            while node._running.publisher.snapshots:  # noqa: ASYNC110 - nobody sets an event
                await asyncio.sleep(0.01)
        assert checked(await exported(client)).entries == 40


# -- the command line ----------------------------------------------------------------------------


Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command of kvgossip beside the node in this process: exit code, stdout, stderr."""

    async def run_it(*arguments: str | Path) -> tuple[int, str, str]:
        code = await asyncio.to_thread(kvgossip.cli._run, [str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run_it


async def test_export_and_import_by_command(tmp_path: Path, run: Run) -> None:
    plain, compressed = tmp_path / "backup.ndjson", tmp_path / "backup.ndjson.zst"
    async with served(name="n1") as (node, client):
        await node.put("a", b"old")
        report = json.loads((await run("export", plain, "-o", "json", "--url", client.url))[1])
        assert (report["entries"], report["certificates"], report["of"]["node"]) == (1, 0, "n1")
        assert (
            "1 entries (0 of them tombstones)"
            in (await run("export", compressed, "--url", client.url))[1]
        )
        assert sorted(os.listdir(tmp_path)) == ["backup.ndjson", "backup.ndjson.zst"]
        await node.put("a", b"new")
        assert "0 new, 1 known already" in (await run("import", plain, "--url", client.url))[1]
        assert node.get("a") == b"new"
        assert (
            "1 new, 0 tombstones, left out"
            in (await run("import", compressed, "--as-new", "--url", client.url))[1]
        )
        assert node.get("a") == b"old"


async def test_an_export_of_format_1_is_imported(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "backup.ndjson"
    file.write_bytes(b"".join(of_format_1()))
    async with served() as (node, client):
        code, shown, _ = await run("import", file, "--url", client.url)
        assert code == 0
        assert shown.startswith("2 entries: 2 new")
        entry = node.entry("a")
        assert entry is not None
        assert (entry.value, str(entry.version)) == (b"12", "018bcfe568000000-0000000000000001")


async def test_what_was_deleted_since_the_export_stays_deleted_unless_it_is_wanted_back(
    tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "backup.ndjson"
    async with served(name="n1") as (node, client):
        await node.put("gone", b"1")
        assert (await run("export", file, "--url", client.url))[0] == 0
        await node.delete("gone")
        # nobody else has to know of the certificate of a node that is alone, so it is collected
        await until(lambda: node.status()["statistics"]["entries"] == 0)
        _, _, shown = await run("import", file, "--url", client.url)
        assert "1 were deleted since the export and stay so" in shown
        assert node.get("gone") is None
        await run("import", file, "--as-new", "--url", client.url)
        assert node.get("gone") == b"1"


async def test_entries_that_lie_in_the_future_are_left_out_and_named_or_waited_for(
    tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "backup.ndjson"
    async with served() as (node, client):

        def written(*ahead_s: float) -> None:
            now_ms = read_clocks().wall_ms
            stamps = [timestamp_of(now_ms + round(each * 1000)) for each in ahead_s]
            entries = [
                (f"key-{place}", make_record(Version(stamp, 1), b"v"))
                for place, stamp in enumerate(stamps)
            ]
            file.write_bytes(b"".join(archived(entries)))

        written(-1.0, 3600.0, 7200.0)
        code, shown, told = await run("import", file, "-o", "json", "--url", client.url)
        assert code == 1
        assert [each["key"] for each in json.loads(shown)["ahead"]] == ["key-1", "key-2"]
        assert "2 entries are left out" in told
        assert "key-1, key-2" in told
        assert "--wait imports them when they are due, the last one in 7,1" in told
        assert [entry.key for entry in node.list()] == ["key-0"]
        written(-1.0, 1.5, 2.0)
        code, shown, _ = await run("import", file, "--wait", "-o", "json", "--url", client.url)
        assert (code, json.loads(shown)["outcomes"]["refused"]) == (0, 0)
        assert [entry.key for entry in node.list()] == ["key-0", "key-1", "key-2"]
        written(3600.0)
        assert (await run("import", file, "--as-new", "--url", client.url))[0] == 0


async def test_a_damaged_file_is_refused_before_anything_changes(tmp_path: Path, run: Run) -> None:
    lines = archived(SOME)
    file = tmp_path / "backup.ndjson"
    async with served() as (node, client):
        for damaged, why in (
            (b"".join([lines[0], lines[2], lines[1], *lines[3:]]), "the checksum at the end"),
            (b"".join(lines[:-1]), "without its last line"),
            (b"no export\n", "not an export of kvgossip"),
        ):
            file.write_bytes(damaged)
            code, _, shown = await run("import", file, "--url", client.url)
            assert code == 2
            assert f"{file} cannot be imported" in shown
            assert why in shown
        compressed = tmp_path / "backup.zst"
        compressed.write_bytes(b"no zstd")
        assert "it is damaged" in (await run("import", compressed, "--url", client.url))[2]
        assert (await run("import", tmp_path / "missing", "--url", client.url))[0] == 2
        assert (await run("export", tmp_path / "no" / "where", "--url", client.url))[0] == 2
        assert node.status()["statistics"]["entries"] == 0


@pytest.fixture
def cut_off() -> Iterator[str]:
    """The URL of a node that ends in the middle of an export."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # where nobody comes, the test ends all the same
        listener.settimeout(TIMEOUT_S)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"".join(archived(SOME)[:2])
                )

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


async def test_an_export_that_is_cut_off_leaves_no_file(
    tmp_path: Path, cut_off: str, run: Run
) -> None:
    code, _, shown = await run("export", tmp_path / "backup", "--url", cut_off)
    assert code == 2
    assert "the node stopped in the middle" in shown
    assert os.listdir(tmp_path) == []


async def test_an_import_that_is_interrupted_says_how_far_it_came(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "backup.ndjson"
    # the node stops it at the second batch, in which values are too large for it
    file.write_bytes(
        b"".join(
            archived([(f"key-{number:04}", record(bytes(number + 1))) for number in range(1200)])
        )
    )
    async with served(value_bytes_max=1000) as (node, client):
        code, _, shown = await run("import", file, "--url", client.url)
        assert code == 1
        assert (
            "stopped: the first 1,000 of 1,200 entries are imported, entries 1,001 to 1,200 perhaps"
            in shown
        )
        assert [entry.key for entry in node.list(limit=2000)] == [
            f"key-{number:04}" for number in range(1000)
        ]


# -- the quarantine ------------------------------------------------------------------------------


async def quarantine(node: Node, key: str, value: bytes) -> None:
    """As when the cluster had deleted this value while the node was away."""
    await node.put(key, value)
    found = node.record(key) or b""
    driver = node._running
    driver.do([Quarantined(key, found, "n2"), Dropped(key, found)], Now(0.0, 0))
    await node.delete(key)


@pytest.mark.parametrize("durable", [False, True])
async def test_values_in_quarantine_are_listed_shown_restored_and_discarded(
    tmp_path: Path, durable: bool
) -> None:
    async with served(name="n1", **({"data_dir": str(tmp_path)} if durable else {})) as (
        node,
        client,
    ):
        await quarantine(node, "one", b"1")
        await quarantine(node, "two", b"2")
        first, second = (await client.quarantine())["values"]
        assert node.status()["quarantined"] == 2
        assert (first["key"], first["bytes"], first["deleted_says"]) == ("one", 1, "n2")
        assert (await client.quarantined(first["number"])).body == b"1"
        assert (await client.restore_quarantined(first["number"]))["key"] == "one"
        assert node.get("one") == b"1"
        await node.put("two", b"newer")
        with pytest.raises(RefusedError, match="there is a newer value under 'two'"):
            await client.restore_quarantined(second["number"])
        await client.discard_quarantined(second["number"])
        assert (await client.quarantine()) == {"values": [], "after": None}
        assert node.status()["quarantined"] == 0
        for number in (second["number"], "zz", ""):
            with pytest.raises(RefusedError) as caught:
                await client.quarantined(number)
            assert caught.value.status == 404


async def test_without_a_disk_the_quarantine_keeps_the_newest_values() -> None:
    kept = Quarantine(None, values_max=2)
    for key in "abc":
        kept.add(Quarantined(key, record(b"1"), "n2"))
    assert [suspect.entry.key for suspect in kept.page()] == ["b", "c"]
    assert [suspect.entry.key for suspect in kept.page(kept.page()[0].number)] == ["c"]
    assert kept.dropped == 1
    with pytest.raises(NotFoundError):
        kept.get("00" * 8)


async def test_the_quarantine_by_command(run: Run) -> None:
    async with served() as (node, client):
        await quarantine(node, "one", b"1")
        (value,) = json.loads(
            (await run("quarantine", "list", "-o", "json", "--url", client.url))[1]
        )["values"]
        assert value["number"] in (await run("quarantine", "list", "--url", client.url))[1]
        code, shown, _ = await run("quarantine", "restore", value["number"], "--url", client.url)
        assert (code, shown.startswith("one is stored")) == (0, True)
        code, _, shown = await run("quarantine", "discard", value["number"], "--url", client.url)
        assert code == 1
        assert "no value" in shown


async def test_all_values_in_quarantine_are_restored_but_where_newer_ones_are(run: Run) -> None:
    async with served() as (node, client):
        for key in ("one", "two", "three"):
            await quarantine(node, key, b"1")
        await node.put("two", b"newer")
        later = ("restore", "--all", "--since", "2999-01-01T00:00:00+00:00")
        assert (await run("quarantine", *later, "--url", client.url))[1].startswith("0 values")
        code, shown, _ = await run("quarantine", "restore", "--all", "--url", client.url)
        assert (code, shown) == (0, "2 values are stored; 1 stay, since newer ones are there\n")
        assert (node.get("one"), node.get("two"), node.get("three")) == (b"1", b"newer", b"1")
        for wrong in (("restore",), ("restore", "0", "--all"), ("restore", "--since", "x")):
            assert (await run("quarantine", *wrong, "--url", client.url))[0] == 2
        assert (await run("quarantine", "restore", "--all", "--since", "x"))[0] == 2
        code, shown, _ = await run("quarantine", "confirm", "--url", client.url)
        assert (code, shown.startswith("0 values may go")) == (0, True)
