"""Keyrings on real sockets, disks and command lines: a rotation loses no write, and what is wrong
with a key is told in words."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kvgossip.cli import main
from kvgossip.config import Address
from kvgossip.errors import ConfigError, KeyringError
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.key_rotation import ids_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.keyring import key_id
from kvgossip.runtime.disk.key_files import read_keys, write_keys
from kvgossip.runtime.node import Node
from tests.cli.test_cli import agent, run
from tests.runtime.test_node import (
    GATEWAY,
    TIMEOUT_S,
    configured,
    refused,
    statistic,
    until,
    until_together,
    until_value,
)

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
OLD_ID, NEW_ID = key_id(OLD), key_id(NEW)


def keyfile(directory: Path, name: str, *keys: bytes) -> str:
    path = directory / f"{name}.keys"
    write_keys(str(path), keys, new=True)
    return str(path)


@asynccontextmanager
async def sealed_cluster(
    directory: Path, *names: str, **settings: Any
) -> AsyncIterator[list[Node]]:
    """Nodes of these names, each with a keyring file of its own that holds the old key."""
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for name in names:
            config = configured(name, *nodes[:1], keyring=keyfile(directory, name, OLD), **settings)
            nodes.append(await stack.enter_async_context(Node(config)))
        await until_together(*nodes)
        yield nodes


# -- nodes ---------------------------------------------------------------------------------------


async def test_a_rotation_on_a_running_cluster_loses_no_write(tmp_path: Path) -> None:
    async with sealed_cluster(tmp_path, "n1", "n2", "n3") as nodes:
        stop = asyncio.Event()

        async def write(node: Node) -> int:
            count = 0
            while not stop.is_set():
                await node.put(f"{node.name}/{count:06}", str(count))
                count += 1
                await asyncio.sleep(0.002)
            return count

        writers = [asyncio.create_task(write(node)) for node in nodes]
        for node, action, key in zip(
            nodes, ("install", "use", "remove"), (NEW.hex(), NEW_ID, OLD_ID), strict=True
        ):
            found = await node.rotate(action, key)
            assert [(held.name, held.answered, held.problem) for held in found] == [
                (f"n{n}", True, "") for n in (1, 2, 3)
            ]
        stop.set()
        written = await asyncio.gather(*writers)
        await until(lambda: len({node.status()["root"] for node in nodes}) == 1)
        for node in nodes:
            assert [len(node.list(f"{other.name}/", limit=100_000)) for other in nodes] == written
            assert node.status()["keyring"] == {"primary": NEW_ID, "keys": [NEW_ID]}
            assert read_keys(str(node.config.keyring)).keys == (NEW,)
            # a datagram that waited in a socket since before `use` may be read after `remove`: then
            # it is lost, as any datagram may be
            assert not any(
                statistic(node, f"frames_dropped.{reason}")
                for reason in ("bad_seal", "replayed", "unsealed")
            )
        assert all(written)


async def test_the_keyrings_of_all_datacenters_change_at_the_word_of_one_node(
    tmp_path: Path,
) -> None:
    keyrings = [keyfile(tmp_path, name, OLD) for name in ("g1", "p1", "g2", "p2")]
    async with (
        Node(configured("g1", datacenter="paris", keyring=keyrings[0], **GATEWAY)) as g1,
        Node(configured("p1", g1, datacenter="paris", keyring=keyrings[1])) as p1,
        Node(
            configured(
                "g2",
                datacenter="tokyo",
                keyring=keyrings[2],
                **GATEWAY,
                join_wan=(str(g1.wan_address),),
            )
        ) as g2,
        Node(configured("p2", g2, datacenter="tokyo", keyring=keyrings[3])) as p2,
    ):
        await until_together(g1, p1)
        await until_together(g2, p2)
        await until(lambda: len(g1.gateways()) == len(g2.gateways()) == 2)
        found = await p2.rotate("install", NEW.hex())
        assert [(held.datacenter, held.name) for held in found] == [
            ("paris", "g1"),
            ("paris", "p1"),
            ("tokyo", "g2"),
            ("tokyo", "p2"),
        ]
        await p1.rotate("use", NEW_ID)
        assert {tuple(ids_of(held)) for held in await g2.rotate("remove", OLD_ID)} == {(NEW_ID,)}
        await p1.put("a", b"1")
        await until_value(p2, "a", b"1")


async def test_lesson_28_a_node_that_was_off_during_a_rotation_is_told_which_key_to_put_into_which_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stale = keyfile(tmp_path, "n3", OLD)
    async with sealed_cluster(tmp_path, "n1", "n2") as (one, two):
        for action, key in (("install", NEW.hex()), ("use", NEW_ID), ("remove", OLD_ID)):
            await one.rotate(action, key)
        await one.put("a", b"1")
        async with Node(configured("n3", one, keyring=stale)) as three:
            text = await refused(three, one.address)
            for words in (
                f"sealed with key {OLD_ID}, which this node lacks",
                f"put the line of key {NEW_ID}",
                f"key {OLD_ID} of {stale}",
            ):
                assert words in text
            assert any(words in logged for logged in caplog.messages if logged.startswith("n3:"))
            assert any(
                f"sealed with key {OLD_ID}" in logged
                for logged in caplog.messages
                if logged.startswith("n1:")
            )
            assert not three.settled
            assert statistic(one, "frames_dropped.unknown_key") >= 1
            # what the text says to do without a restart
            await three.rotate("install", NEW.hex())
            await three.rotate("use", NEW_ID)
            await three.wait_settled(TIMEOUT_S)
            assert three.get("a") == b"1"
        # and it is in its file: the next start needs nobody
        async with Node(configured("n3", two, keyring=stale)) as again:
            await again.wait_settled(TIMEOUT_S)


async def test_a_node_that_seals_and_one_that_does_not_refuse_each_other_in_words_and_run_on(
    tmp_path: Path,
) -> None:
    async with (
        Node(configured("n1", keyring=keyfile(tmp_path, "n1", OLD))) as sealed,
        Node(configured("n2")) as plain,
        Node(configured("n3", keyring=keyfile(tmp_path, "n3", NEW))) as other,
    ):
        for joiner, host, words, reason in (
            (
                plain,
                sealed,
                (
                    f"it is not sealed, and this node seals with key {OLD_ID}; start its node with "
                    "--keyring"
                ),
                "unsealed",
            ),
            (
                sealed,
                plain,
                f"it is sealed with key {OLD_ID}, and this node has no keyring",
                "sealed",
            ),
            (
                other,
                sealed,
                f"it is sealed with key {NEW_ID}, which this node lacks",
                "unknown_key",
            ),
        ):
            assert words in await refused(joiner, host.address)
            assert statistic(host, f"frames_dropped.{reason}") >= 1
        assert all(
            [member.name for member in node.members()] == [node.name]
            for node in (sealed, plain, other)
        )
        assert (plain.status()["keyring"], sealed.status()["keyring"]) == (
            None,
            {"primary": OLD_ID, "keys": [OLD_ID]},
        )
        await sealed.put("still", b"running")


async def test_a_recorded_datagram_that_is_sent_again_is_dropped(tmp_path: Path) -> None:
    """A stranger between two nodes passes datagrams on, and then all of them again."""
    async with sealed_cluster(tmp_path, "n1", "n2") as (one, two):
        recorded: list[bytes] = []
        receive = one._running.replica.receive

        def recording(
            data: bytes,
            source: Address,
            now: Now,
            pool: PoolKind = PoolKind.LAN,
            *,
            reliable: bool = False,
            here: str = "",
        ) -> list[Effect]:
            if not reliable:
                recorded.append(data)
            return receive(data, source, now, pool, reliable=reliable, here=here)

        one._running.replica.receive = recording  # type: ignore[method-assign]
        for number in range(50):
            await two.put("a", str(number))
            await until_value(one, "a", str(number).encode())
        one._running.replica.receive = receive  # type: ignore[method-assign]
        before, root = statistic(one, "frames_dropped.replayed"), one.status()["root"]
        stranger, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(one.address.host, one.address.port)
        )
        for data in recorded:
            stranger.sendto(data)
            # in turns with the node, whose socket holds a few hundred: the slower the machine, the
            # more were recorded
            await asyncio.sleep(0)
        await until(lambda: statistic(one, "frames_dropped.replayed") >= before + len(recorded))
        stranger.close()
        await asyncio.sleep(0)
        assert one.status()["root"] == root
        assert statistic(one, "frames_dropped.replayed") == before + len(recorded)


async def test_a_keyring_file_that_cannot_be_written_is_told_until_it_can(tmp_path: Path) -> None:
    async with sealed_cluster(tmp_path, "n1", "n2") as (one, two):
        path = Path(str(two.config.keyring))
        path.rename(tmp_path / "gone")  # noqa: ASYNC240 - at once
        for _ in range(2):
            found = await one.rotate("install", NEW.hex())
            assert [bool(held.problem) for held in found] == [False, True]
            assert f"cannot write its keyring file {path}" in found[1].problem
            assert ids_of(found[1]) == [OLD_ID, NEW_ID]
        (tmp_path / "gone").rename(path)
        assert not any(held.problem for held in await one.rotate("use", NEW_ID))
        assert read_keys(str(path)).keys == (NEW, OLD)


async def test_keys_that_stand_in_the_configuration_change_in_memory_and_say_so() -> None:
    async with Node(configured(keyring=(OLD.hex(),))) as node:
        (held,) = await node.rotate("install", NEW.hex())
        assert ids_of(held) == [OLD_ID, NEW_ID]
        assert "stand in its configuration" in held.problem


async def test_a_node_without_a_keyring_has_none_to_change() -> None:
    async with Node(configured()) as node:
        with pytest.raises(KeyringError, match="not sealed"):
            await node.rotate()


async def test_a_keyring_that_cannot_be_used_stops_the_start_with_nothing_open(
    tmp_path: Path,
) -> None:
    node = Node(configured(keyring=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match="cannot read the keyring file"):
        await node.start()
    await node.stop()


# -- files ---------------------------------------------------------------------------------------


def test_a_keyring_file_comes_back_as_it_was_written_and_is_its_owners_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys"
    write_keys(str(path), [OLD, NEW], new=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(str(path)).keys == (OLD, NEW)
    assert f"{NEW.hex()}  # {NEW_ID}" in path.read_text()
    with pytest.raises(FileExistsError):
        write_keys(str(path), [NEW], new=True)
    path.chmod(0o640)
    write_keys(str(path), [NEW])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert read_keys(str(path)).keys == (NEW,)
    assert os.listdir(tmp_path) == ["keys"]


def test_a_keyring_file_behind_a_link_is_replaced_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    write_keys(str(tmp_path / "there/keys"), [OLD], new=True)
    (tmp_path / "keys").symlink_to(tmp_path / "there/keys")
    write_keys(str(tmp_path / "keys"), [NEW])
    assert (tmp_path / "keys").is_symlink()
    assert read_keys(str(tmp_path / "there/keys")).keys == (NEW,)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (OLD.hex(), 0o644, "everybody may read or write"),
        (OLD.hex(), 0o602, "everybody may read or write"),
        (f"# mine\n\n{OLD.hex()[:-1]}\n", 0o600, "line 3 of the keyring file"),
        (f"{OLD.hex()} {NEW.hex()}", 0o600, "line 1 of the keyring file"),
        ("# nothing yet\n", 0o600, "at least one key"),
        ("".join(f"{bytes((n,) * 32).hex()}\n" for n in range(17)), 0o600, "16 keys already"),
        ("\udcff", 0o600, "line 1 of the keyring file"),
    ],
)
def test_a_keyring_file_that_cannot_be_used_is_told_with_what_to_do_and_shows_no_key(
    tmp_path: Path, content: str, mode: int, words: str
) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content.encode(errors="surrogateescape"))
    path.chmod(mode)
    with pytest.raises(ConfigError, match=words) as caught:
        read_keys(str(path))
    assert caught.value.hint
    assert str(path) in str(caught.value)
    assert OLD.hex()[:16] not in f"{caught.value} {caught.value.hint}"


def test_a_keyring_file_that_is_not_there_or_a_directory_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="cannot read the keyring file") as caught:
            read_keys(str(path))
        assert "keygen" in caught.value.hint


# -- commands ------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def test_keygen_writes_a_new_file_once_or_prints_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.keys"
    code, out, _ = command(capsys, "keygen", str(path), "-o", "json")
    assert (code, json.loads(out)) == (0, {"id": read_keys(str(path)).primary, "file": str(path)})
    code, _, err = command(capsys, "keygen", str(path))
    assert code == 2
    assert "exists already" in err
    assert command(capsys, "keygen", str(tmp_path / "no/such"))[0] == 2
    printed = {command(capsys, "keygen")[1] for _ in range(2)}
    assert len(printed) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}\n", key) for key in printed)


def test_the_commands_replace_a_key_on_a_running_cluster_and_a_stale_node_is_refused_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [keyfile(tmp_path, name, OLD) for name in ("n1", "n2", "n3")]
    new = keyfile(tmp_path, "new", NEW)
    with (
        agent("--name", "n1", "--keyring", files[0]) as one,
        agent("--name", "n3", KVGOSSIP_KEYRING=files[2]) as three,
    ):
        facts, stale = one.event("serving"), three.event("serving")
        with agent("--name", "n2", "--keyring", files[1], "--join", facts["gossip"]) as two:
            two.event("settled")

            def keyring(*arguments: str) -> tuple[int, str, str]:
                return command(capsys, "keyring", *arguments, "--url", facts["url"])

            listed = json.loads(keyring("list", "-o", "json")[1])
            assert [(node["name"], node["primary"], node["keys"]) for node in listed["nodes"]] == [
                ("n1", OLD_ID, [OLD_ID]),
                ("n2", OLD_ID, [OLD_ID]),
            ]
            code, _, err = keyring("use", NEW_ID)
            assert code == 1
            assert f"not every node has the key {NEW_ID}: n1, n2 lack it" in err
            assert keyring("install", new)[0] == 0
            assert keyring("remove", OLD_ID)[0] == 1
            code, table, _ = keyring("use", NEW_ID)
            assert code == 0
            assert re.search(rf"n2 +dc1 +{NEW_ID} +{NEW_ID} {OLD_ID}", table)
            assert keyring("remove", OLD_ID)[0] == 0
            assert all(read_keys(file).keys == (NEW,) for file in files[:2])
            code, _, err = command(capsys, "join", facts["gossip"], "--url", stale["url"])
            assert code == 1
            for words in (f"sealed with key {OLD_ID}", f"put the line of key {NEW_ID}", files[2]):
                assert words in err
            _, status, _ = command(capsys, "status", "-o", "json", "--url", facts["url"])
            assert json.loads(status)["keyring"] == {"primary": NEW_ID, "keys": [NEW_ID]}
            assert NEW.hex() not in status


def test_an_agent_says_what_is_wrong_with_its_keyring_and_ends_with_exit_code_2(
    tmp_path: Path,
) -> None:
    path = Path(keyfile(tmp_path, "open", OLD))
    path.chmod(0o644)
    ended = run("agent", "--keyring", str(path), "--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0")
    assert ended.returncode == 2
    assert f"chmod 600 {path}" in ended.stderr.decode()
    assert OLD.hex() not in ended.stderr.decode()


def test_where_nothing_is_sealed_the_commands_say_how_to_begin(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with agent() as process:
        code, _, err = command(capsys, "keyring", "list", "--url", process.event("serving")["url"])
        assert code == 1
        assert "kvgossip keygen FILE" in err
