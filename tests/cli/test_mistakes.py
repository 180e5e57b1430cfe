"""Mistakes of a first day, and the words that they get: one line that names it, a hint what to do,
and the exit code."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from kvgossip.api import listening
from kvgossip.api.client import Client, UnreachableError
from kvgossip.cli import main
from kvgossip.cli.settings import nearest_variable
from kvgossip.config import Address
from kvgossip.errors import ConfigError
from kvgossip.runtime.network import sockets
from tests.api.serving import Served
from tests.cli.test_cli import CLEAN, KVGOSSIP, PATIENCE_S, agent

KEY = "0123456789abcdef" * 4
NOWHERE = "http://127.0.0.1:1"


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, the line and the hint of a command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, shown = capsys.readouterr()
    lines = shown.splitlines()
    assert (out, len(lines)) == ("", 2), shown
    assert lines[0].startswith("kvgossip: ")
    assert lines[1].startswith("hint: ")
    assert isinstance(ended.value.code, int)
    return ended.value.code, lines[0], lines[1]


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("nam = 'x'", "unknown parameter 'nam': did you mean 'name'?", "config --schema"),
        ("wan_parameters = {rumor = 1}", "'rumor' cannot be set", "config --schema"),
        ("[agent]\nname = 'x'", "there is no table 'agent'", "without the line [agent]"),
        ("http = 7480", "http = 7480 is a port alone", 'write http = "127.0.0.1:7480"'),
        ("gossip = 7481", "gossip = 7481 is a port alone", 'write gossip = "0.0.0.0:7481"'),
        ("rumor_k = 'x'", "takes a whole number from 0 to 64", "rumor"),
        ("probe_interval_s = [1]", "takes a number of seconds from 0.01 to 600", "period"),
        ("name = 2020-01-01", "is not a name: it takes", "unique in the cluster"),
        ("log_level = 'loud'", "unknown log level 'loud'", "debug, info, warning, error"),
        ("log_level = 5", "unknown log level '5'", "debug, info, warning, error"),
    ],
)
def test_a_mistake_in_the_file_says_what_to_write(
    text: str, says: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    code, line, advice = refusal(capsys, "config", "check", str(file))
    assert (code, says in line, hint in advice) == (2, True, True), (line, advice)
    assert len(line + advice) < 500
    assert "/config/" not in line + advice


@pytest.mark.parametrize("ttl", ["xyz", "0s", "-1s", "11y", "999999999h"])
def test_a_bad_ttl_is_the_callers_mistake_before_any_node_is_asked(
    ttl: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line, hint = refusal(capsys, "put", "a", "b", "--ttl", ttl, "--url", NOWHERE)
    assert (code, "--ttl" in line) == (2, True)
    assert "500ms" in hint


def test_an_unknown_output_names_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    code, line, _ = refusal(capsys, "list", "-o", "yaml", "--url", NOWHERE)
    assert code == 2
    assert "table" in line
    assert "json" in line
    assert "Value error" not in line


def test_a_key_in_place_of_the_path_of_a_keyring_is_never_repeated(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, part = tmp_path / "agent.toml", KEY[:56].lower()
    nowhere = ("--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0")
    for given in (KEY, f"{KEY},{KEY}", f" {KEY.upper()}", KEY[:-3]):
        file.write_text(f'identity = "{given}"\n')
        for words in (
            ("agent", *nowhere, "--keyring", given),
            ("agent", *nowhere, "--identity", given),
            ("agent", *nowhere, "--data-dir", given),
            ("agent", *nowhere, "--config", given),
            ("agent", *nowhere, "--config", str(file)),
            ("config", "check", str(file)),
            ("config", "check", given),
            ("keygen", given),
            ("keyring", "install", given, "--url", NOWHERE),
        ):
            code, line, hint = refusal(capsys, *words)
            assert (code, part in (line + hint).lower()) == (2, False), words
            assert "is a key, where a path is expected" in line
        with monkeypatch.context() as patched:
            patched.setenv("KVGOSSIP_KEYRING", given)
            code, line, hint = refusal(capsys, "agent", *nowhere)
        assert (code, part in (line + hint).lower()) == (2, False)
    assert [each.name for each in tmp_path.iterdir()] == ["agent.toml"]
    code, line, _ = refusal(capsys, "agent", *nowhere, "--keyring", "/no/such/keys")
    assert (code, "/no/such/keys" in line) == (2, True)


def test_a_misspelt_variable_is_told_with_the_nearest_one() -> None:
    for variable, meant in (
        ("KVGOSSIP_NAEM", "KVGOSSIP_NAME"),
        ("KVGOSSIP_JION", "KVGOSSIP_JOIN"),
        ("KVGOSSIP_LOGLEVEL", "KVGOSSIP_LOG_LEVEL"),
    ):
        assert nearest_variable(variable) == f": did you mean {meant!r}?"
    with agent("--name", "n1", KVGOSSIP_JION="a:1") as process:
        process.line("WARNING.*KVGOSSIP_JION .*did you mean 'KVGOSSIP_JOIN'", "stderr")


def test_a_port_that_this_user_may_not_have_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    monkeypatch.setattr(sockets, "_bind", refuse)
    for listen in (listening.listen, sockets.bind):
        with pytest.raises(ConfigError, match=r"^this user may not listen on port 80$") as caught:
            listen(Address("127.0.0.1", 80))
        assert "CAP_NET_BIND_SERVICE" in caught.value.hint


async def test_https_where_plain_http_is_spoken_says_so(served: Served) -> None:
    async with Client(f"https://{served.server.address}") as client:
        with pytest.raises(UnreachableError, match="does not speak HTTPS") as caught:
            await client.status()
    assert f"--url http://{served.server.address}" in caught.value.hint


@pytest.mark.parametrize("answer", [b"\x15\x03\x03\x00\x02\x02\x28", b""])
async def test_plain_http_where_something_else_is_spoken_says_so(answer: bytes) -> None:
    """A TLS server answers with an alert, or closes; the gossip port closes."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with listener, Client(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(UnreachableError, match="does not answer as HTTP does") as caught:
            await client.status()
    assert "gossip port" in caught.value.hint
    assert "https://" in caught.value.hint


async def test_a_certificate_that_is_not_trusted_is_named() -> None:
    from kvgossip.api.client import _unreachable

    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 23, "certificate revoked"
    said = _unreachable("https://a.example", error)
    assert str(said) == "the certificate of https://a.example is not trusted: certificate revoked"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="not Linux")
@pytest.mark.parametrize("arguments", [("version",), ("config", "schema"), ("--help",)])
def test_a_full_output_device_is_one_line(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*KVGOSSIP, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=PATIENCE_S,
            env=CLEAN,
        )
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "kvgossip: cannot write the output: No space left on device",
        "hint: make room there, and do it again",
    ]
