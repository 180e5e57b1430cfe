"""SIGHUP: an agent reads its log level and its keys anew, and is never ended by it."""

from __future__ import annotations

import json
import logging
import signal
from datetime import datetime
from pathlib import Path

import pytest

from kvgossip.cli.process.reload import Reload
from kvgossip.cli.settings import Sources
from kvgossip.config import Address, Config
from kvgossip.protocol.key_rotation import ids_of
from kvgossip.protocol.wire.keyring import key_id
from kvgossip.runtime.disk.key_files import write_keys
from kvgossip.runtime.node import Node
from tests.api.access.tokens_file import KINDS, make_tokens
from tests.api.tls.files import made
from tests.cli.test_cli import agent

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
ANYWHERE = Address("127.0.0.1", 0)


async def test_the_keys_and_the_log_level_are_taken_and_what_needs_a_restart_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys, file = tmp_path / "keys", tmp_path / "agent.toml"
    write_keys(str(keys), [OLD], new=True)
    file.write_text(f'keyring = "{keys}"\nlog_level = "warning"\nrumor_k = 3\n')
    sources = Sources({"name": "n1"}, {}, file)
    settings = sources.read()
    assert settings.own["log_level"] == "warning"
    caplog.set_level(logging.INFO)
    async with Node(Config(name="n1", gossip=ANYWHERE, keyring=str(keys))) as node:
        write_keys(str(keys), [NEW, OLD])
        file.write_text(f'keyring = "{keys}"\nlog_level = "info"\nrumor_k = 5\n')
        reload = Reload(sources, settings)
        reload(node)
        replica = node._running.replica
        assert replica.keyring is not None
        assert replica.keyring.keys == (NEW, OLD)
        (holding,) = await node.rotate()
        assert ids_of(holding) == [key_id(NEW), key_id(OLD)]
        file.write_text(f'keyring = "{keys}"\nlog_level = "info"\nrumor_k = 3\n')
        reload(node)
    lines = [record.getMessage() for record in caplog.records if record.name == "kvgossip.agent"]
    now = f"n1 has read its keyring again: keys {key_id(NEW)}, {key_id(OLD)}, of which the first seals"
    assert lines == [
        "n1 has read its configuration again: log level info; it was warning",
        "n1 must be restarted to take the new rumor_k",
        f"{now}; they were {key_id(OLD)}",
        "n1 has read its configuration again: log level info",
        now,
    ]


@pytest.mark.parametrize("mistake", ["rumour_k = 1", "log_level = 'loud'", "log_format = 'xml'"])
async def test_a_mistake_in_one_file_is_said_keeps_what_it_said_and_keeps_nobody_from_the_other(
    mistake: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys, file = tmp_path / "keys", tmp_path / "agent.toml"
    write_keys(str(keys), [OLD], new=True)
    file.write_text("")
    sources = Sources({"keyring": str(keys)}, {}, file)
    reload = Reload(sources, sources.read())
    caplog.set_level(logging.INFO)
    async with Node(Config(name="n1", gossip=ANYWHERE, keyring=str(keys))) as node:
        replica = node._running.replica
        assert replica.keyring is not None
        file.write_text(mistake)
        write_keys(str(keys), [NEW, OLD])
        reload(node)
        assert replica.keyring.keys == (NEW, OLD)
        assert logging.getLogger().level == logging.INFO
        file.write_text("log_level = 'warning'")
        keys.write_text("no key")
        reload(node)
        assert replica.keyring.keys == (NEW, OLD)
        assert logging.getLogger().level == logging.WARNING
    lines = [each.getMessage() for each in caplog.records if each.name == "kvgossip.agent"]
    assert lines[0].startswith("n1 keeps its configuration: ")
    assert lines[1].startswith("n1 has read its keyring again: ")
    assert lines[2] == "n1 has read its configuration again: log level warning; it was info"
    assert lines[3] == (
        f"n1 keeps its keys: line 1 of the keyring file {keys} is no key (write 64 hexadecimal "
        "digits in each line, the primary key first)"
    )


def test_an_agent_reads_all_its_files_at_sighup_says_what_changed_and_is_never_ended(
    tmp_path: Path,
) -> None:
    file, tokens, keys = tmp_path / "agent.toml", tmp_path / "tokens", tmp_path / "keys"
    file.write_text("log_level = 'error'\n")
    make_tokens(tokens, KINDS["reader"])
    write_keys(str(keys), [OLD], new=True)
    tls = made(tmp_path / "tls")
    secret = ("--tokens", str(tokens), "--keyring", str(keys), "--tls-cert", tls.cert)
    options = ("--config", str(file), "--name", "n1", "--log-format", "json")
    with agent(*options, *secret, "--tls-key", tls.key) as process:
        process.event("serving")
        file.write_text("log_level = 'info'\n")
        keys.unlink()
        make_tokens(tokens, KINDS["reader"], KINDS["metrics"])
        process.popen.send_signal(signal.SIGHUP)
        lines = [json.loads(process.line(".+", "stderr")[0]) for _ in range(4)]
        assert [line["message"].partition(" (")[0] for line in lines] == [
            "n1 has read its configuration again: log level info; it was error",
            f"n1 keeps its keys: cannot read the keyring file {keys}: No such file or directory",
            "the TLS certificate has been read again, and is the same",
            f"the tokens file {tokens} has been read again: reader, metrics",
        ]
        for line in lines:
            assert line.keys() == {"time", "level", "logger", "message"}
            assert datetime.fromisoformat(line["time"]).utcoffset() is not None
        assert [line["level"] for line in lines] == ["info", "warning", "info", "info"]
        process.popen.send_signal(signal.SIGTERM)
        process.line("n1 leaves", "stderr")
        assert process.end()[0] == 0
