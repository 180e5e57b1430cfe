"""`kvgossip add`, `remove` and `set`, and siblings in `get`, `put` and `delete`: what they ask a
node, and what they say of its answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from kvgossip.cli import main

VERSION = "0192f3c1a2b40000-5d1c9e0f3a7b2468"
SIBLINGS = {
    "siblings": [
        {"value": "x" * 40, "version": VERSION, "writer": "n1"},
        {"base64": "/wA=", "version": VERSION, "writer": None},
    ],
    "context": "AdKnVt",
}


class Asked(NamedTuple):
    method: str
    target: str
    body: bytes
    context: str | None


class Node(ThreadingHTTPServer):
    """A node that answers every question alike."""

    asked: list[Asked]
    status: int
    document: Any


class Handler(BaseHTTPRequestHandler):
    server: Node
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        context = self.headers.get("KV-Context")
        self.server.asked.append(Asked(self.command, self.path, body, context))
        given = self.server.document
        octets = given if isinstance(given, bytes) else json.dumps(given).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(octets)))
        self.send_header("KV-Version", VERSION)
        self.send_header("KV-Context", "AdKnVt")
        self.end_headers()
        self.wfile.write(octets)

    do_GET = do_PUT = do_DELETE = do_POST = answer  # noqa: N815 - of the standard library

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def node() -> Iterator[Node]:
    with Node(("127.0.0.1", 0), Handler) as server:
        server.asked, server.status = [], 200
        server.document = {"key": "k", "version": VERSION, "value": 13, "deleted": True}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(node: Node, *arguments: str) -> int:
    """The exit code."""
    url = f"http://127.0.0.1:{node.server_port}"
    with pytest.raises(SystemExit) as ended:
        main([arguments[0], "--url", url, *arguments[1:]])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (["add", "k"], {"add": 1}),
        (["add", "k", "10"], {"add": 10}),
        (["add", "k", "--", "-3"], {"add": -3}),
        (["add", "k", "7", "--to", "set"], {"add": ["7"]}),
        (["add", "k", "--to", "counter"], {"add": 1}),
        (["add", "k", "7", "--to", "max"], {"max": 7}),
        (["add", "k", "--to", "min", "--", "-1.5e3"], {"min": -1500.0}),
        (["add", "k", "2", "--field", "n"], {"add": 2, "field": "n"}),
        (["add", "k", "a", "--field", "s"], {"add": ["a"], "field": "s"}),
        (["add", "k", "7", "8"], {"add": ["7", "8"]}),
        (["add", "k", "red"], {"add": ["red"]}),
        (["add", "k", "1.5"], {"add": ["1.5"]}),
        (["remove", "k", "red", "7"], {"remove": ["red", "7"]}),
        (["remove", "k", "red", "--field", "s"], {"remove": ["red"], "field": "s"}),
        (["unset", "k", "a", "b"], {"unset": ["a", "b"]}),
        (
            ["set", "k", "a=1", "b=true", "c=x=y", 'd="1"', "e=", "f=null", "g=[1]", "h=NaN"],
            {
                "set": {
                    "a": 1, "b": True, "c": "x=y", "d": "1", "e": "", "f": None, "g": "[1]",
                    "h": "NaN",
                }
            },
        ),
    ],
)  # fmt: skip
def test_an_edit_asks_for_what_was_meant_and_says_what_became_of_it(
    command: list[str], body: object, node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(node, *command) == 0
    (asked,) = node.asked
    assert (asked.method, asked.target) == ("POST", "/kv/k")
    assert json.loads(asked.body) == body
    assert capsys.readouterr().out == f"k is 13, version {VERSION}\n"
    assert run(node, command[0], "-o", "json", *command[1:]) == 0
    assert json.loads(capsys.readouterr().out) == node.document


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["add", "k", "--to", "set"], "there is no element to add"),
        (["add", "k", "1", "2", "--to", "counter"], "a counter takes one number"),
        (["add", "k", "1.5", "--to", "counter"], "1.5 is no number for a counter"),
        (["add", "k", "NaN", "--to", "max"], "NaN is no number for a max"),
        (["add", "k", "--to", "min"], "a min takes one number"),
        (["set", "k", "a"], "a sets no field"),
        (["set", "k", "=1"], "=1 sets no field"),
        (["remove", "k"], "Missing argument"),
        (["get", "k", "--siblings", "--newest"], "--newest is one value as it is"),
        (["get", "k", "-o", "json", "--newest"], "--newest is one value as it is"),
        (["put", "k", "v", "--context", "a\nb"], "the context cannot be sent"),
        (["delete", "k", "--context", "\u00e7"], "the context cannot be sent"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_node_is_asked(
    command: list[str], text: str, node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(node, *command) == 2
    assert node.asked == []
    assert text in capsys.readouterr().err


def test_what_a_node_refuses_is_said_in_its_words(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    node.status = 409
    node.document = {"error": "the key holds a set, and no counter", "hint": "take another key"}
    assert run(node, "add", "k", "1") == 1
    error = capsys.readouterr().err
    assert "kvgossip: the key holds a set, and no counter\nhint: take another key" in error


def test_siblings_are_shown_with_their_context_in_80_columns(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    node.status, node.document = 300, SIBLINGS
    assert run(node, "get", "k", "--siblings") == 0
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 80
    assert all(part in table for part in (VERSION, "n1", "40", "xxx...", "context: AdKnVt"))
    assert run(node, "get", "k", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == SIBLINGS
    assert run(node, "get", "k") == 1
    assert "the key k has 2 values\nhint: `kvgossip get k --siblings`" in capsys.readouterr().err


def test_one_value_is_shown_as_siblings_are(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.document = b"one"
    assert run(node, "get", "k", "--siblings", "-o", "json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["context"] == "AdKnVt"
    (only,) = shown["siblings"]
    assert (only["value"], only["version"]) == ("one", VERSION)


def test_the_newest_of_siblings_is_asked_for(node: Node) -> None:
    assert run(node, "get", "k", "--newest") == 0
    assert node.asked == [Asked("GET", "/kv/k?resolve=lww", b"", None)]


def test_a_write_with_a_context_sends_it(node: Node) -> None:
    assert run(node, "put", "k", "merged", "--context", "AdKnVt") == 0
    assert run(node, "delete", "k", "--context", "AdKnVt") == 0
    assert run(node, "put", "k", "another", "--siblings", "--ttl", "1h") == 0
    assert [(asked.method, asked.target, asked.context) for asked in node.asked] == [
        ("PUT", "/kv/k", "AdKnVt"),
        ("DELETE", "/kv/k", "AdKnVt"),
        ("PUT", "/kv/k?ttl=1h&type=siblings", None),
    ]


def test_what_is_not_known_of_an_edit_is_not_said(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    node.document = {"key": "k", "version": VERSION, "value": None}
    assert run(node, "add", "k") == 0
    node.document = {"key": "k", "version": None, "value": ["a"]}
    assert run(node, "remove", "k", "b") == 0
    assert capsys.readouterr().out == (
        f'k is written, version {VERSION}\nk is ["a"], nothing was to be done\n'
    )


def test_a_delete_says_where_something_stays(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    node.document = {"key": "k", "version": VERSION, "deleted": False}
    assert run(node, "delete", "k", "--context", "AdKnVt") == 0
    assert "k keeps what the context has not seen" in capsys.readouterr().out
