"""SIGHUP: an agent reads its log level and its keys anew, and is never ended by it."""

from __future__ import annotations

import json
import logging
import signal
import urllib.request
from pathlib import Path

import pytest

from kvgossip.cli.process.reload import Reload
from kvgossip.cli.settings import Sources
from kvgossip.config import Address, Config
from kvgossip.protocol.key_rotation import ids_of
from kvgossip.protocol.wire.keyring import key_id
from kvgossip.runtime.disk.key_files import write_keys
from kvgossip.runtime.node import Node
from tests.cli.test_cli import agent

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
ANYWHERE = Address("127.0.0.1", 0)


async def test_the_keys_and_the_log_level_are_taken_and_what_needs_a_restart_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys, file = tmp_path / "keys", tmp_path / "agent.toml"
    write_keys(str(keys), [OLD], new=True)
    file.write_text(f'keyring = "{keys}"\nlog_level = "warning"\nrumor_k = 3\n')
    sources = Sources({"name": "n1"}, {}, file, None, None)
    config, level = sources.read()
    assert level == "warning"
    caplog.set_level(logging.INFO)
    async with Node(Config(name="n1", gossip=ANYWHERE, keyring=str(keys))) as node:
        write_keys(str(keys), [NEW, OLD])
        file.write_text(f'keyring = "{keys}"\nlog_level = "info"\nrumor_k = 5\n')
        Reload(sources, config)(node)
        replica = node._running.replica
        assert replica.keyring is not None
        assert replica.keyring.keys == (NEW, OLD)
        (holding,) = await node.rotate()
        assert ids_of(holding) == [key_id(NEW), key_id(OLD)]
    lines = [record.getMessage() for record in caplog.records if record.name == "kvgossip.agent"]
    assert lines == [
        f"n1 has reloaded its log level, info, and its keys: {key_id(NEW)}, {key_id(OLD)}, of "
        "which the first seals",
        "n1 must be restarted to take the new rumor_k",
    ]


@pytest.mark.parametrize("mistake", ["rumour_k = 1", "log_level = 'loud'", "keys"])
async def test_a_mistake_changes_nothing_and_is_said(
    mistake: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys, file = tmp_path / "keys", tmp_path / "agent.toml"
    write_keys(str(keys), [OLD], new=True)
    file.write_text("")
    sources = Sources({"keyring": str(keys)}, {}, file, None, None)
    reload = Reload(sources, sources.read()[0])
    async with Node(Config(name="n1", gossip=ANYWHERE, keyring=str(keys))) as node:
        (keys if mistake == "keys" else file).write_text(mistake)
        reload(node)
        replica = node._running.replica
        assert replica.keyring is not None
        assert replica.keyring.keys == (OLD,)
    (line,) = [each.getMessage() for each in caplog.records if each.name == "kvgossip.agent"]
    assert line.startswith("n1 reloads nothing: ")


def test_an_agent_goes_on_after_sighup_and_writes_more_to_its_log(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("log_level = 'error'\n")
    with agent("--config", str(file), "--name", "n1") as process:
        url = process.event("serving")["url"]
        file.write_text("log_level = 'info'\n")
        process.popen.send_signal(signal.SIGHUP)
        process.line("n1 has reloaded its log level, info, and no keys", "stderr")
        with urllib.request.urlopen(f"{url}/healthz", timeout=30) as answer:
            assert json.load(answer) == {"status": "ok"}
        process.popen.send_signal(signal.SIGTERM)
        process.line("n1 leaves", "stderr")
        assert process.end()[0] == 0
