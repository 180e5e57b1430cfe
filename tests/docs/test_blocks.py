"""The code blocks of all pages: programs run and print what the page says, and lines of a shell
name commands, options and routes that there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from kvgossip.api.access.tokens import parse_tokens
from kvgossip.api.server import DESCRIPTION
from kvgossip.cli.settings import load_config
from kvgossip.config import PARAMETERS, config_from
from kvgossip.config.exposure import bars_others, open_doors
from tests.docs.pages import (
    DOCS,
    PAGES,
    ROOT,
    Block,
    blocks,
    commands_in,
    inline_code,
    run_python,
    running_demo,
)
from tools.make_commands import tree

PROGRAMS = [block for page in sorted(DOCS.glob("*.md")) for block in blocks(page, "python")]
LINES = [
    (page.name, command)
    for page in PAGES
    for block in blocks(page, "sh")
    for command in commands_in(block.text)
]
HOSTS = re.compile(r"127\.0\.0\.1|10\.\d+\.\d+\.\d+|[a-z0-9.]+\.example|localhost")
URL = re.compile(r"https?://")
CURL_VALUES = {
    "-X": "method",
    "-H": "",
    "-d": "data",
    "--data": "data",
    "--data-binary": "data",
    "-m": "",
    "--unix-socket": "",
    "--cacert": "",
}
CURL_SWITCHES = {"-N", "-i", "-I", "-s"}


@pytest.fixture(scope="module")
def demo() -> Iterator[list[str]]:
    with running_demo() as urls:
        yield urls


# -- programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [block for block in PROGRAMS if "port=7480" not in block.text],
    ids=lambda block: block.page,
)
def test_a_program_of_the_docs_runs_and_prints_what_its_page_says(
    block: Block, tmp_path: Path
) -> None:
    assert run_python(block.text, tmp_path) == block.output


@pytest.mark.parametrize(
    "block",
    [block for block in PROGRAMS if "port=7480" in block.text],
    ids=lambda block: block.page,
)
def test_a_client_of_the_docs_runs_against_a_demo(
    block: Block, tmp_path: Path, demo: list[str]
) -> None:
    port = urlsplit(demo[0]).port
    assert run_python(block.text.replace("port=7480", f"port={port}"), tmp_path) == block.output


def test_the_docs_have_programs_of_both_kinds() -> None:
    assert {block.page for block in PROGRAMS} >= {"embedding.md", "guide.md"}


def test_the_simulator_line_of_the_home_page_runs() -> None:
    (command,) = (command for page, command in LINES if page == "index.md")
    assert command[:3] == ["kvgossip", "sim", "cluster"]
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- lines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "command"),
    LINES,
    ids=lambda value: " ".join(value)[:80] if isinstance(value, list) else value,
)
def test_a_line_of_the_docs_says_what_there_is(page: str, command: list[str]) -> None:
    check_line(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_within_the_text_of_a_page_are_there(page: Path) -> None:
    for code in inline_code(page):
        # COMMAND stands for any
        if code.startswith("kvgossip ") and "COMMAND" not in code:
            (first, *_) = commands_in(code)
            parse(first, whole=False)


@pytest.mark.parametrize(
    "line",
    [
        "kvgossip nothing",
        "kvgossip put only-a-key",
        "kvgossip agent --no-such-option",
        "kvgossip keyring use",
        "curl http://127.0.0.1:7480/nothing",
        "curl -X DELETE http://127.0.0.1:7480/kv",
        "curl 'http://127.0.0.1:7480/kv?suffix=a'",
        "curl --no-such-option http://127.0.0.1:7480/kv",
        "curl http://kvgossip.dev/kv",
        "make nothing",
        "docker compose stop kv9",
        "docker compose exec kv9 kvgossip members",
        "docker compose exec kv1 kvgossip nothing",
        "python -m benchmarks.nothing",
        "launch kvgossip",
    ],
)
def test_a_line_that_says_what_there_is_not_is_found_out(line: str) -> None:
    (command,) = commands_in(line)
    with pytest.raises(Exception, match=r"."):
        check_line(command)


@pytest.mark.parametrize(
    "command",
    [
        command
        for page, command in LINES
        if page in ("README.md", "guide.md") and command[:2] == ["kvgossip", "agent"]
    ],
    ids=lambda command: " ".join(command)[:80],
)
def test_an_agent_of_readme_and_guide_is_on_loopback_or_locked(
    command: list[str], tmp_path: Path
) -> None:
    given = tree().commands["agent"].make_context("agent", command[2:]).params
    options = {
        name: ",".join(value) if isinstance(value, list | tuple) else value
        for name, value in given.items()
        if name in PARAMETERS
    }
    file = None
    if given["config"]:
        (block,) = (each for each in blocks(DOCS / "guide.md", "toml"))
        assert str(given["config"]) in block.text
        file = tmp_path / "kvgossip.toml"
        file.write_text(block.text)
    config = load_config(options, {}, file, None)
    assert open_doors(config) == ()
    assert not bars_others(config), "it serves nobody who comes by the address it listens on"


def check_line(command: list[str]) -> None:
    """Raises where the command, an option, a route or a target is not there."""
    kind = command[0]
    if kind == "kvgossip":
        parse(command)
    elif kind == "curl":
        check_request(command[1:])
    elif kind.startswith("python") and command[1:2] == ["-m"]:
        assert find_spec(command[2]) is not None, f"there is no module {command[2]}"
    elif kind == "make":
        assert re.search(
            rf"^{re.escape(command[1])}:", (ROOT / "Makefile").read_text(), re.MULTILINE
        ), command
    elif kind == "docker":
        assert command[1] == "compose", command
        services = [word for word in command[3:] if not word.startswith("-")]
        if command[2] == "exec":
            services, inside = services[:1], command[command.index(services[0]) + 1 :]
            if inside[0] not in ("cat", "rm"):
                parse(inside)
        assert all(
            f"\n  {name}:\n" in (ROOT / "docker-compose.yml").read_text() for name in services
        ), command
    else:
        assert kind in ("pip", "git"), f"nobody checks what {kind} does"
    for word in command:
        for url in URL.finditer(word):
            assert HOSTS.fullmatch(urlsplit(word[url.start() :]).hostname or ""), (
                f"{word} is no host of an example"
            )


def parse(command: list[str], *, whole: bool = True) -> None:
    """Raises where there is no such command or option. `whole`: or an argument is missing."""
    node, words = tree(), list(command)
    path = [words.pop(0)]
    while words and hasattr(node, "commands"):
        if words[0].startswith("-") and not hasattr(node, "default_command"):
            break
        if words[0] not in node.commands and hasattr(node, "default_command"):
            words.insert(0, node.default_command)
        path.append(words.pop(0))
        assert path[-1] in node.commands, f"there is no {' '.join(path)}"
        node = node.commands[path[-1]]
    if whole:
        node.make_context(" ".join(path), words)
    known = {
        name for parameter in node.params for name in (*parameter.opts, *parameter.secondary_opts)
    }
    # what stands behind -- is no option
    options = words[: words.index("--")] if "--" in words else words
    unknown = {word for word in options if word.startswith("-") and word != "-"} - known
    assert whole or not unknown, f"{' '.join(path)} has no {unknown}"


def check_request(words: list[str]) -> None:
    """Raises where the server has no such route or parameter."""
    given: dict[str, str] = {}
    urls: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in CURL_VALUES:
            given[CURL_VALUES[word]] = next(rest)
        elif word not in CURL_SWITCHES:
            assert not word.startswith("-"), f"nobody checks what {word} does"
            urls.append(word)
    (url,) = urls
    path, query = urlsplit(url).path, urlsplit(url).query
    method = given.get("method", "POST" if "data" in given else "GET").lower()
    operation = operation_of(path, method)
    known = {
        parameter["name"]
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }
    asked = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    assert asked <= known, f"{path} has no parameter {asked - known}"
    if "data" in given and "application/json" in operation["requestBody"]["content"]:
        json.loads(given["data"])


def operation_of(path: str, method: str) -> dict[str, Any]:
    for template, methods in DESCRIPTION["paths"].items():
        pattern = re.escape(template).replace(re.escape("{key}"), ".+")
        if re.fullmatch(pattern, path):
            assert method in methods, f"{path} has no {method}"
            found: dict[str, Any] = methods[method]
            return found
    raise AssertionError(f"there is no {path}")


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [block for page in PAGES for block in blocks(page, "toml")],
    ids=lambda block: block.page,
)
def test_a_file_of_the_docs_is_a_configuration_or_has_tokens(block: Block) -> None:
    values = tomllib.loads(block.text)
    if any("hash" in section for section in values.values() if isinstance(section, dict)):
        parse_tokens(block.text, "tokens")
    else:
        config_from(values, values.pop("profile", "lan"))


@pytest.mark.parametrize(
    "block",
    [block for page in PAGES for block in blocks(page, "json")],
    ids=lambda block: block.page,
)
def test_a_document_of_the_docs_is_json(block: Block) -> None:
    json.loads(block.text)
