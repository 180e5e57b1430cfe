"""`kvgossip ready`: a health check that finds the address which the agent serves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvgossip.cli import ready
from tests.api.tls.files import made
from tests.cli.test_cli import agent
from tests.test_config import command


def test_the_agent_is_asked_at_the_address_that_its_environment_or_its_file_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, file = made(tmp_path), tmp_path / "agent.toml"
    options = ("--tls-cert", tls.cert, "--tls-key", tls.key, "--name", "n1")
    with agent("--join", "127.0.0.1:9", *options, KVGOSSIP_FOUNDING_S="600") as process:
        url = process.event("serving")["url"]
        port = url.rpartition(":")[2]
        file.write_text(f"http = '0.0.0.0:{port}'\ntls_cert = '{tls.cert}'\n")
        monkeypatch.setenv("KVGOSSIP_CONFIG", str(file))
        assert command("ready", "--alive", "-o", "json") == 0
        assert json.loads(capsys.readouterr().out) == {"where": url, "status": "ok"}
        # it waits for whom it joins
        assert command("ready") == 1
        assert "the node is not ready" in capsys.readouterr().err
    monkeypatch.setenv("KVGOSSIP_HTTP", f"127.0.0.1:{port}")
    assert command("ready") == 2
    assert f"no agent answers at {url}: Connection refused" in capsys.readouterr().err


def test_the_options_of_an_agent_that_is_process_1_count_and_those_of_other_programs_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, socket = tmp_path / "cmdline", f"unix:{tmp_path}/http.sock"
    monkeypatch.setattr(ready, "FIRST_PROCESS", first)
    with agent("--http", socket) as process:
        process.event("serving")
        for words in (
            ("/usr/bin/python", "/usr/bin/kvgossip", "agent", "--http", socket),
            ("/sbin/docker-init", "--", "kvgossip", "agent", "--http", socket, "-o", "json"),
        ):
            first.write_text("\0".join((*words, "")))
            assert command("ready") == 0
            assert capsys.readouterr().out == f"the agent at {socket} is ready\n"
        first.write_text("\0".join(("/sbin/init", "agent", "--http", socket, "")))
        monkeypatch.setenv("KVGOSSIP_HTTP", "127.0.0.1:9")
        assert command("ready") == 2
        assert "no agent answers at http://127.0.0.1:9: " in capsys.readouterr().err
