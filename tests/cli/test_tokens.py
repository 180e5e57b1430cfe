"""Tokens on the command line: `token new`, an agent that asks for them, and commands that send
them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.cli.test_cli import agent, run


def new(file: Path, name: str, *rights: str) -> str:
    """A token in this file; returns the path of the file of its secret."""
    made = run("token", "new", name, *rights, "--file", str(file))
    assert (made.returncode, made.stderr) == (0, b"")
    secret = file.with_name(f"{name}.token")
    secret.write_bytes(made.stdout)
    return str(secret)


def test_an_agent_with_tokens_asks_who_it_is_and_commands_say_it(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    ops, ci = new(file, "ops", "--admin"), new(file, "ci", "--read", "", "--write", "app/")
    with agent("--tokens", str(file), "--log-level", "error") as process:
        url = process.event("serving")["url"]
        at = ("--url", url)
        assert run("put", "app/a", "1", *at, "--token-file", ci).returncode == 0
        assert run("get", "app/a", *at, "--token-file", ops).stdout == b"1"
        assert run("get", "app/a", *at, KVGOSSIP_TOKEN=Path(ci).read_text()).stdout == b"1"
        assert run("get", "app/a", *at, KVGOSSIP_TOKEN_FILE=ci).stdout == b"1"
        # what is nearer to the command wins
        assert run("get", "app/a", *at, KVGOSSIP_TOKEN_FILE=ci, KVGOSSIP_TOKEN="no").returncode == 1
        both = run("get", "app/a", *at, "--token-file", ci, KVGOSSIP_TOKEN_FILE="/nothing")
        assert both.stdout == b"1"
        stranger = run("get", "app/a", *at)
        assert (stranger.returncode, stranger.stdout) == (1, b"")
        assert b"no token is sent; the right 'read' is needed" in stranger.stderr
        assert b"--token-file" in stranger.stderr
        denied = run("put", "x", "1", *at, "--token-file", ci)
        assert (denied.returncode, denied.stdout) == (1, b"")
        assert b"ci lacks the right 'write' for 'x'" in denied.stderr
        assert run("block", "10.0.0.9", *at, "--token-file", ops).returncode == 0
        # whatever the level of the log
        process.line("ops at 127.0.0.1: POST /block target='10.0.0.9': done", "stderr")

        file.write_text("[ops]\nread = 1\n")
        process.popen.send_signal(signal.SIGHUP)
        process.line("ERROR .*the tokens from before stay: line 2 of the tokens file", "stderr")
        assert run("get", "app/a", *at, "--token-file", ci).stdout == b"1"
        status = json.loads(run("status", *at, "--token-file", ops, "-o", "json").stdout)
        assert "line 2" in status["tokens"]["problem"]
        process.popen.send_signal(signal.SIGTERM)
        assert process.end()[0] == 0


def test_a_broken_tokens_file_ends_the_start_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.touch(0o600)
    file.write_text("[ci]\nhash = 'kvgossip_secret'\n")
    ended = run("agent", "--tokens", str(file), "--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert f"line 2 of the tokens file {file}: the hash of [ci] is none".encode() in ended.stderr
    assert b"kvgossip_secret" not in ended.stderr
    file.chmod(0o644)
    ended = run("agent", "--tokens", str(file), "--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0")
    assert ended.returncode == 2
    assert b"everybody may read or write" in ended.stderr


def test_token_new_prints_the_secret_once_and_the_section_with_its_hash_alone() -> None:
    made = run("token", "new", "ci", "--read", "", "--write", "app/", "--metrics")
    secret, empty, *section = made.stdout.decode().splitlines()
    assert empty == ""
    assert section[0] == "[ci]"
    assert section[1].startswith('hash = "blake2b:')
    assert section[2:] == ['read = [""]', 'write = ["app/"]', "metrics = true"]
    assert secret not in "\n".join(section)
    told = json.loads(run("token", "new", "ci", "--admin", "-o", "json").stdout)
    assert told.keys() == {"name", "token", "section"}


def test_token_new_refuses_what_no_file_can_hold_and_leaves_the_file_as_it_was(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tokens"
    new(file, "ci", "--read", "")
    before = file.read_bytes()
    for arguments, problem in (
        (("ci", "--read", ""), b"has a section 'ci' already"),
        (("a b", "--read", ""), b"'a b' is no name"),
        (("anonymous", "--read", ""), b"cannot have hash"),
        (("x", "--read", "/a"), b"no key starts with '/a'"),
        (("x",), b"may do nothing"),
    ):
        refused = run("token", "new", *arguments, "--file", str(file))
        assert (refused.returncode, refused.stdout) == (2, b"")
        assert problem in refused.stderr
        assert file.read_bytes() == before


def test_what_is_no_token_file_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "token"
    nobody = ("--url", "http://127.0.0.1:1")
    missing = run("get", "a", *nobody, "--token-file", str(file))
    assert b"cannot read the token file" in missing.stderr
    missing = run("get", "a", *nobody, KVGOSSIP_TOKEN_FILE=str(file))
    assert b"cannot read the token file" in missing.stderr
    file.touch()
    assert b"is empty" in run("get", "a", *nobody, "--token-file", str(file)).stderr
    file.write_text("one\ntwo\n")
    refused = run("get", "a", *nobody, "--token-file", str(file))
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"has more than one token" in refused.stderr
    assert b"two" not in refused.stderr
