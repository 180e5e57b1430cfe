"""Mistakes of a first day, and the words that they get: one line that names it, a hint what to do,
and the exit code.

What is typed to a node goes to one node that all of these tests share. A process of its own has
what its own streams, locale or signals decide; the others run here.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import pty
import signal
import socket
import ssl
import struct
import subprocess
import termios
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kvgossip.api import listening
from kvgossip.cli import main
from kvgossip.cli.settings import nearest_variable
from kvgossip.client.failures import UnreachableError, unreachable
from kvgossip.config import Address
from kvgossip.errors import ConfigError
from kvgossip.runtime.network import sockets
from tests.asking import AsyncClient
from tests.cli.test_cli import CLEAN, KVGOSSIP, PATIENCE_S, agent, run, started

KEY = "0123456789abcdef" * 4
NOWHERE = "http://127.0.0.1:1"
ANYWHERE = "--http 127.0.0.1:0 --gossip 127.0.0.1:0"
NOT_UTF_8 = b"\xff\x1b[31m\n"
HOSTILE = "\x1b[31m\x9b31mred"
"""Escapes of a terminal, the old one and that of C1."""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FILES = {
    "unknown.toml": "nam = 'x'",
    "damaged.toml": "name = 'x'\nprobe_interval_s = [",
    "kind.toml": "probe_interval_s = 'often'",
    "bounds.toml": "probe_interval_s = 9999",
    "table.toml": "[agent]\nname = 'x'",
    "port.toml": "http = 7480",
    "big": "x" * (2**20 + 1),
}


class Place(NamedTuple):
    """A running node, and a folder with FILES."""

    url: str
    http: str
    gossip: str
    folder: Path

    def filled(self, text: str) -> str:
        return text.format(**self._asdict(), anywhere=ANYWHERE, nowhere=NOWHERE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("mistakes")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with agent("--name", "n1", "--log-level", "error") as process:
        serving = process.event("serving")
        process.event("settled")
        url = serving["url"]
        yield Place(url, url.removeprefix("http://"), serving["gossip"], folder)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, the line and the hint of a command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, shown = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return (ended.value.code, *_line_and_hint(out, shown))


def _line_and_hint(out: str, shown: str) -> tuple[str, str]:
    lines = shown.splitlines()
    assert (out, len(lines)) == ("", 2), shown
    assert lines[0].startswith("kvgossip: ")
    assert lines[1].startswith("hint: ")
    return lines[0], lines[1]


# -- the table: its numbers, what is typed, the exit code, the words and the hint -------------------


@pytest.mark.parametrize(
    ("number", "typed", "code", "says", "hint"),
    [
        (1, "get a --url {nowhere}", 2, "no node answers at {nowhere}: Connection", "agent"),
        (2, "get a --url http://{gossip}", 2, "does not answer as HTTP does", "the gossip port"),
        (10, "config check {folder}/unknown.toml", 2, "did you mean 'name'?", "schema"),
        (11, "config check {folder}/damaged.toml", 2, "damaged.toml is not valid TOML", "a line"),
        (12, "config check {folder}/kind.toml", 2, "seconds from 0.01 to 600", "period"),
        (13, "config check {folder}/bounds.toml", 2, "0.01 to 600", "period"),
        (14, "config check {folder}/none.toml", 2, "none.toml", "readable"),
        (17, "gte a", 2, "Did you mean 'get'?", "--help"),
        (18, "get a --ulr x", 2, "--url", "--help"),
        (19, "put a b --ttl soon --url {nowhere}", 2, "--ttl = 'soon' is not", "500ms"),
        (20, "put /a b", 1, "looks like a path that climbs", "leading '/'"),
        (21, "get nobody", 1, "there is no such key", "lists them"),
        (22, "put a", 2, "VALUE", "--help"),
        (24, "get a --url https://{http}", 2, "does not speak HTTPS", "http://{http}"),
        (29, "put a @{folder}/big", 1, "longer than 1048576 bytes", "nothing was changed"),
        (31, "keyring install {folder}/none", 2, "cannot read the keyring file", "keygen"),
        (32, "put a @{folder}/none", 2, "cannot read", "'@' names a file"),
        (33, "list -o yaml --url {nowhere}", 2, "not one of 'table', 'json'", "--help"),
        (34, "config check {folder}/table.toml", 2, "no table 'agent'", "without the line"),
        (34, "config check {folder}/port.toml", 2, "a port alone", 'http = "127.0.0.1:7480"'),
        (0, "put a -1", 2, "No such option: -1", "put KEY -- -1"),
        (0, "put a b --wait 1 --timeout soon", 2, "--timeout = 'soon' is not", "500ms"),
        (0, "get a --url http://..", 2, "the name cannot be resolved", "--url"),
        (0, "get a --url http://u:p@host", 2, "is not the URL of a node", "unix:PATH"),
        (0, "put a b -t \u2603", 2, "the content type", "ASCII"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_a_hint(
    number: int, typed: str, code: int, says: str, hint: str, place: Place,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("KVGOSSIP_URL", place.url)
    found = refusal(capsys, *place.filled(typed).split(" "))
    assert found[0] == code
    assert place.filled(says) in found[1]
    assert place.filled(hint) in found[2]
    assert "/kvgossip/" not in found[1] + found[2]
    assert "Value error" not in found[1]


@pytest.mark.parametrize(
    ("number", "typed", "says", "hint"),
    [
        (4, "agent --http {http} --gossip 127.0.0.1:0", "HTTP address {http} is in use", "--http"),
        (5, "agent --http 127.0.0.1:0 --gossip {gossip}", "{gossip} is in use", "another port"),
        (15, "agent {anywhere} --data-dir /proc/none", "/proc/none cannot be used", "may write"),
    ],
)
def test_an_agent_that_cannot_run_says_what_it_lacks(
    number: int, typed: str, says: str, hint: str, place: Place
) -> None:
    done = run(*place.filled(typed).split(" "))
    line, advice = _line_and_hint(done.stdout.decode(), done.stderr.decode())
    assert (done.returncode, place.filled(says) in line, hint in advice) == (2, True, True), line


@pytest.mark.parametrize("nobody", ["{http}", "127.0.0.1:1"])
def test_an_agent_that_finds_nobody_says_so_and_tries_again(nobody: str, place: Place) -> None:
    """3 and 6: the port of HTTP, a port of nobody; and a misspelt variable, 23."""
    address = place.filled(nobody)
    with agent("--join", address, KVGOSSIP_JION="a:1") as process:
        process.line("WARNING.*KVGOSSIP_JION .*did you mean 'KVGOSSIP_JOIN'", "stderr")
        process.line(f"no answer from {address}: .*is this its gossip port", "stderr")
        assert process.popen.poll() is None


def test_an_agent_that_finds_no_name_says_so_and_tries_again() -> None:
    """7."""
    with agent("--join", "no-such-host.invalid:7481") as process:
        says = "no-such-host.invalid:7481 cannot be resolved; it will be tried again"
        process.line(f"WARNING.*{says}", "stderr")
        assert process.popen.poll() is None


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--cluster", "blue"), "cluster 'default'.*another cluster.*of cluster 'blue'"),
        (("--name", "n1"), "the name 'n1'.* is held by the live node.*--name"),
    ],
)
def test_an_agent_that_is_refused_says_why_and_is_not_ready(
    option: tuple[str, str], says: str, place: Place
) -> None:
    """8 and 9."""
    with agent("--join", place.gossip, *option) as process:
        process.line(f"WARNING.* refused by the node at {place.gossip}.*{says}", "stderr")
        process.line("WARNING.*this node is not ready", "stderr")


# -- streams, locales and terminals ----------------------------------------------------------------


def test_a_reader_that_goes_ends_a_command_in_silence(place: Place) -> None:
    """25."""
    assert run("put", "read", "1", "--url", place.url).returncode == 0
    for typed in (("dump",), ("list",), ("get", "read"), ("watch", "--since", "0")):
        with started(*typed, "--url", place.url) as process:
            assert process.popen.stdout is not None
            process.popen.stdout.close()
            assert process.popen.wait(PATIENCE_S) == 141
            assert process.popen.stderr is not None
            assert process.popen.stderr.read() == b"", typed


def test_a_full_device_is_one_line(place: Place) -> None:
    """30."""
    for typed in (("get", "full"), ("list", "-o", "json"), ("dump",), ("--help",)):
        run("put", "full", "1", "--url", place.url)
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*KVGOSSIP, *typed], stdout=full, stderr=subprocess.PIPE, check=False,
                timeout=PATIENCE_S, env={**CLEAN, "KVGOSSIP_URL": place.url},
            )  # fmt: skip
        assert (done.returncode, done.stderr.decode().splitlines()) == (
            2,
            [
                "kvgossip: cannot write the output: No space left on device",
                "hint: make room there, and do it again",
            ],
        )


def test_closed_standard_streams_are_those_of_nobody(place: Place) -> None:
    command = f"{' '.join(KVGOSSIP)} put closed 1 --url {place.url}"
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        assert subprocess.run(f"{command} {closed}", shell=True, check=False).returncode == 0
    done = subprocess.run(
        f"{' '.join(KVGOSSIP)} put closed - --url {place.url} <&-",
        shell=True, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, b"standard input is closed" in done.stderr) == (2, True)
    assert run("get", "closed", "--url", place.url).stdout == b"1"


def test_no_locale_is_a_traceback(place: Place) -> None:
    """27."""
    assert run("put", "locale/\u2603", "\u00e7", "--url", place.url).returncode == 0
    locales: tuple[tuple[dict[str, Any], bytes], ...] = (
        (ASCII, b"locale/\\u2603"),
        ({"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}, b"locale/\\u2603"),
        ({"PYTHONUTF8": "1"}, "locale/\u2603".encode()),
    )
    for locale, shown in locales:
        listed = run("list", "locale/", "--url", place.url, **locale)
        assert (listed.returncode, shown in listed.stdout, listed.stderr) == (0, True, b"")
        dumped = run("dump", "locale/", "--url", place.url, **locale)
        assert json.loads(dumped.stdout) == {"key": "locale/\u2603", "value": "\u00e7"}
        # bytes are nobody's characters
        assert run("get", "locale/\u2603", "--url", place.url).stdout == b"\xc3\xa7"


def at_a_terminal(*typed: str) -> bytes:
    """What a terminal of 80 columns gets."""
    ours, its = pty.openpty()
    try:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**CLEAN, "TERM": "dumb", "NO_COLOR": "1"}
        with subprocess.Popen([*KVGOSSIP, *typed], stdout=its, stderr=its, env=environment) as it:
            os.close(its)
            shown = b""
            try:
                while data := os.read(ours, 65536):
                    shown += data
            except OSError:  # Linux says so where nobody has the other end any more
                pass
        assert it.returncode == 0, shown
        return shown.replace(b"\r\n", b"\n")
    finally:
        os.close(ours)


def test_a_terminal_gets_nothing_that_it_would_obey(place: Place, tmp_path: Path) -> None:
    """26 and 28."""
    (tmp_path / "octets").write_bytes(NOT_UTF_8)
    at = ("--url", place.url)
    assert run("put", HOSTILE, f"@{tmp_path / 'octets'}", *at).returncode == 0
    assert run("get", HOSTILE, *at).stdout == NOT_UTF_8
    assert at_a_terminal("get", HOSTILE, *at) == b"\\xff\\x1b[31m\n"
    listed = at_a_terminal("list", HOSTILE, "-o", "json", *at)
    assert listed.isascii()
    assert json.loads(listed)["entries"][0]["key"] == HOSTILE
    watched = ("watch", "--key", HOSTILE, "--since", "0", "--values", "text", "--count", "1")
    for shown in (listed, at_a_terminal("list", HOSTILE, *at), at_a_terminal(*watched, *at)):
        assert not {"\x1b", "\x9b"} & set(shown.decode())
    assert b"base64: /xtbMzFtCg==" in at_a_terminal(*watched, *at)


def test_members_can_be_read_in_80_columns(place: Place) -> None:
    head, _, row, *rest = at_a_terminal("members", "--url", place.url).decode().splitlines()
    assert head.split() == ["name", "state", "pool", "address", "http", "datacenter", "rtt", "lag"]
    assert row.split()[:5] == ["n1", "alive", "lan", place.gossip, place.http]
    assert "no room for phi, generation, incarnation" in "".join(rest)
    assert all(len(line) <= 80 for line in (head, row, *rest))


def test_ctrl_c_ends_a_watch_with_130_in_silence(place: Place) -> None:
    with started("watch", "--since", "0", "--url", place.url) as process:
        process.line("synced|that is all")
        process.popen.send_signal(signal.SIGINT)
        code, _, err = process.end()
        assert (code, err) == (130, "")


# -- more of the same kinds ------------------------------------------------------------------------


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


def test_a_misspelt_variable_has_a_nearest_one() -> None:
    for variable, meant in (
        ("KVGOSSIP_NAEM", "KVGOSSIP_NAME"),
        ("KVGOSSIP_JION", "KVGOSSIP_JOIN"),
        ("KVGOSSIP_LOGLEVEL", "KVGOSSIP_LOG_LEVEL"),
    ):
        assert nearest_variable(variable) == f": did you mean {meant!r}?"


def test_a_port_that_this_user_may_not_have_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    monkeypatch.setattr(sockets, "_bind", refuse)
    for listen in (listening.listen, sockets.bind):
        with pytest.raises(ConfigError, match=r"^this user may not listen on port 80") as caught:
            listen(Address("127.0.0.1", 80))
        assert "CAP_NET_BIND_SERVICE" in caught.value.hint


def test_a_traceback_shows_the_hint_of_an_error() -> None:
    shown = "".join(traceback.format_exception(ConfigError("a is wrong", "write b")))
    assert shown == "kvgossip.errors.ConfigError: a is wrong\nhint: write b\n"


@pytest.mark.parametrize("answer", [b"\x15\x03\x03\x00\x02\x02\x28", b""])
async def test_plain_http_where_something_else_is_spoken_says_so(answer: bytes) -> None:
    """A TLS server answers with an alert, or closes; the gossip port closes."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with listener, AsyncClient(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(UnreachableError, match="does not answer as HTTP does") as caught:
            await client.document("/status")
    assert "gossip port" in caught.value.hint
    assert "https://" in caught.value.hint


async def test_a_certificate_that_is_not_trusted_is_named() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 23, "certificate revoked"
    said = unreachable("https://a.example", error, is_connected=False)
    assert str(said) == "the certificate of https://a.example is not trusted: certificate revoked"
