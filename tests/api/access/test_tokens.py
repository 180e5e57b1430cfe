"""The tokens file: what it may say, and where it is wrong."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from kvgossip.api.access.token_file import TokenFile, add_section, read_tokens
from kvgossip.api.access.tokens import (
    MARK,
    Token,
    Tokens,
    hash_of,
    new_secret,
    parse_tokens,
    section_of,
)
from kvgossip.errors import ConfigError
from tests.api.access.tokens_file import make_tokens

ONE, TWO = "blake2b:" + "01" * 32, "blake2b:" + "02" * 32


def test_a_file_says_who_may_do_what() -> None:
    text = f"""
        [ci]   # builds
        hash = "{ONE}"
        read = [""]
        write = ["app/", "ça/"]
        ["web.example"]
        read = ["public/"]
        [ops]
        hash = "{TWO}"
        admin = true
        [anonymous]
        metrics = true
    """
    tokens = parse_tokens(text, "file")
    assert tokens.by_name == {
        "ci": Token("ci", bytes([1] * 32), ("",), ("app/", "ça/")),
        "web.example": Token("web.example", b"", ("public/",)),
        "ops": Token("ops", bytes([2] * 32), admin=True),
        "anonymous": Token("anonymous", metrics=True),
    }
    assert tokens.of_hash(bytes([1] * 32)) == tokens.by_name["ci"]
    assert tokens.of_hash(b"") is None
    assert tokens.of_hash(bytes(32)) is None
    assert tokens.of_certificate("web.example") == tokens.by_name["web.example"]
    assert tokens.of_certificate("anonymous") is None
    assert tokens.anonymous == tokens.by_name["anonymous"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "it has no section"),
        ("read = ['']", 1, "'read' stands outside of all sections"),
        ("[a]\nread = ['']\n\n[b]\nraed = ['']", 5, "[b] has an unknown 'raed': did you mean"),
        ("[a]\n# hash\nhash = 'secret'", 3, "the hash of [a] is none"),
        ("[a]\nhash = 7", 2, "the hash of [a] is none"),
        (f"[a]\nhash = '{ONE}'\n[b]\nhash = '{ONE}'", 4, "it is that of [a] too"),
        ("[a]\nread = 'app/'", 2, "read of [a] is not a list of prefixes"),
        ("[a]\nwrite = [1]", 2, "write of [a] is not a list of prefixes"),
        ("[a]\nread = [\n  '/app']", 2, "no key starts with '/app'"),
        ("[a]\nadmin = 1", 2, "admin of [a] is neither true nor false"),
        ("[a]\nread = ['']\n[web.example]\nread = ['']", 3, "a section within the section [web]"),
        ("[anonymous]\nadmin = true", 2, "cannot have admin"),
        (f"[anonymous]\nhash = '{ONE}'", 2, "cannot have hash"),
        ("['a b']\nread = ['']", 1, "'a b' is no name"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_tokens(text, "/etc/tokens")
    assert str(caught.value).startswith(f"line {line} of the tokens file /etc/tokens: ")
    assert problem in str(caught.value)


def test_what_is_no_toml_is_named_with_its_line_too() -> None:
    for text, line in (("[a]\nread = [\n", 2), ("[a]\nread = \n\n", 2), ("[a]\n[a]", 2)):
        with pytest.raises(ConfigError, match=f"line {line} of the tokens file .*not valid TOML"):
            parse_tokens(text, "file")


def test_no_error_repeats_a_secret() -> None:
    secret = new_secret()
    for text in (f"[a]\nhash = '{secret}'", f"[a]\nhash = 'blake2b:{secret}'", f"[a]\n{secret}"):
        with pytest.raises(ConfigError) as caught:
            parse_tokens(text, "file")
        assert secret not in str(caught.value) + caught.value.hint
    with pytest.raises(ConfigError) as caught:
        read_tokens(secret)
    assert secret not in str(caught.value) + caught.value.hint


def test_a_secret_is_marked_and_32_random_bytes_long_and_none_is_like_another() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(each.startswith(MARK) and len(each) == len(MARK) + 43 for each in secrets)


def test_a_section_is_written_as_it_is_read() -> None:
    token = Token("web.example", bytes(range(32)), ("", 'q"\\\n'), ("ça/",), True, True)
    assert parse_tokens(section_of(token), "file").by_name == {"web.example": token}


def test_files_that_say_the_same_have_one_fingerprint_and_others_another() -> None:
    one, two = Token("a", bytes(32), ("b", "a")), Token("b", metrics=True)
    assert (
        Tokens([one, two]).fingerprint == Tokens([two, one._replace(read=("a", "b"))]).fingerprint
    )
    changed = [
        one._replace(read=("a",)),
        one._replace(hash=bytes([1] * 32)),
        one._replace(admin=True),
        one._replace(read=(), write=("a", "b")),
        one._replace(name="c"),
    ]
    found = {Tokens([each, two]).fingerprint for each in (one, *changed)}
    assert len(found) == 1 + len(changed)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o666])
def test_a_file_that_everybody_may_read_or_write_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    make_tokens(path, Token("a"))
    path.chmod(mode)
    with pytest.raises(ConfigError, match="everybody may read or write"):
        read_tokens(str(path))


def test_what_is_no_file_is_refused_and_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "bytes").touch(0o600)
    (tmp_path / "bytes").write_bytes(b"[a]\nread = ['\xff']")
    for name, problem in (
        ("missing", "cannot read"),
        ("pipe", "is no file"),
        ("", "is no file|Is a directory"),
        ("bytes", "line 2 of .* is not UTF-8"),
    ):
        with pytest.raises(ConfigError, match=problem):
            read_tokens(str(tmp_path / name))


def test_a_section_is_added_to_a_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    add_section(str(path), Token("a", read=("x/",)))
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("# ours\n" + path.read_text())
    path.chmod(0o640)
    add_section(str(path), Token("b", metrics=True))
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_text().startswith("# ours\n[a]\n")
    assert list(read_tokens(str(path)).by_name) == ["a", "b"]
    with pytest.raises(ConfigError, match="has a section 'b' already"):
        add_section(str(path), Token("b"))
    assert [each.name for each in tmp_path.iterdir()] == ["tokens"]


async def test_a_file_that_changes_is_read_again_once_two_looks_have_seen_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tokens"
    make_tokens(path, Token("a"))
    file, seen = TokenFile(str(path)), list[Tokens]()
    file.on_change = seen.append
    await file.look()
    await file.look()
    assert seen == []
    add_section(str(path), Token("b"))
    await file.look()
    assert seen == []
    await file.look()
    assert [list(tokens.by_name) for tokens in seen] == [["a", "b"]]
    await file.look()
    assert len(seen) == 1


async def test_a_broken_file_leaves_the_old_tokens_and_says_so_once_until_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    make_tokens(path, Token("a"))
    text = path.read_text()
    file, seen = TokenFile(str(path)), list[Tokens]()
    file.on_change = seen.append
    path.write_text("[a]\nread = 1\n")
    for _ in range(3):
        await file.look()
    await file.reload()
    assert (list(file.tokens.by_name), seen) == (["a"], [])
    assert "line 2 of the tokens file" in file.problem
    (error,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert error.getMessage().startswith("the tokens from before stay: line 2 of the tokens file")
    path.unlink()
    await file.look()
    await file.look()
    assert "cannot read" in file.problem
    path.touch(0o600)
    path.write_text(text)
    await file.reload()
    assert file.problem == ""
    assert seen == []


async def test_who_wakes_it_has_the_file_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    make_tokens(path, Token("a"))
    file, taken = TokenFile(str(path)), asyncio.Event()
    file.on_change = lambda tokens: taken.set()
    file.start()
    try:
        add_section(str(path), Token("b"))
        file.wake()
        async with asyncio.timeout(30):
            await taken.wait()
    finally:
        await file.stop()


def test_a_token_is_found_by_its_hash_alone() -> None:
    secret = new_secret().encode()
    tokens = Tokens([Token("a", hash_of(secret))])
    assert tokens.of_hash(hash_of(secret)) is not None
    for other in (b"", secret[:-1], secret + b"x", secret.upper(), hash_of(secret)):
        assert tokens.of_hash(hash_of(other)) is None
