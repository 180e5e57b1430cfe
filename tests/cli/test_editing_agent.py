"""The commands of typed keys against a real agent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kvgossip.cli import main
from tests.cli.test_cli import QUICK, agent


class Shell:
    """Commands of this process, which ask that agent."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url, self._capsys = url, capsys

    def __call__(self, *arguments: str, exit_code: int = 0) -> str:
        """What the command prints."""
        with pytest.raises(SystemExit) as ended:
            main([arguments[0], "--url", self._url, *arguments[1:]])
        out, err = self._capsys.readouterr()
        assert ended.value.code == exit_code, err
        return out or err

    def document(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with agent("--name", "n1", **QUICK) as process:
        yield process.event("serving")["url"]


@pytest.fixture
def kvgossip(url: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(url, capsys)


def test_keys_whose_writes_are_merged_are_edited_and_read(kvgossip: Shell) -> None:
    kvgossip("add", "hits")
    assert kvgossip("add", "hits", "10").startswith("hits is 11, version ")
    assert kvgossip("add", "hits", "--", "-3").startswith("hits is 8, version ")
    assert kvgossip("get", "hits") == "8"
    assert "no set" in kvgossip("add", "hits", "red", exit_code=1)

    kvgossip("add", "tags", "red", "7")
    assert kvgossip.document("remove", "tags", "7")["value"] == ["red"]
    assert json.loads(kvgossip("get", "tags")) == ["red"]
    kvgossip("add", "load", "97.5", "--to", "max")
    assert kvgossip.document("add", "load", "3", "--to", "max")["value"] == 97.5

    kvgossip("set", "user/7", "name=Ada", "admin=true")
    kvgossip("add", "user/7", "2", "--field", "logins")
    kvgossip("add", "user/7", "ops", "--field", "roles")
    kvgossip("remove", "user/7", "dev", "--field", "roles")
    assert kvgossip.document("unset", "user/7", "admin")["value"] == {
        "logins": 2, "name": "Ada", "roles": ["ops"]
    }  # fmt: skip


def test_an_edit_waits_for_those_that_are_to_hold_it(kvgossip: Shell) -> None:
    assert "1 of 1 hold it" in kvgossip("add", "waited", "2", "--wait", "majority")
    assert "1 of 1 hold it" in kvgossip("set", "waited/map", "f=1", "--wait", "all")
    assert kvgossip("unset", "waited/map", "g", "--wait", "all").startswith(
        'waited/map is {"f": 1}'
    )
    late = kvgossip("add", "waited", "--wait", "2", "--timeout", "1ms", exit_code=1)
    assert kvgossip("get", "waited") in ("2", "3"), late
    assert "no write concern" in kvgossip("add", "waited", "--wait", "some", exit_code=1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (("-1",), "put KEY -- -1"),
        (("-param",), "put KEY -- -1"),
        (("--foo",), "put KEY -- -1"),
        (("@nowhere/home",), "'\\@name'"),
    ],
)
def test_a_value_that_looks_like_something_else_is_told_how_to_be_written(
    kvgossip: Shell, value: tuple[str, ...], words: str
) -> None:
    assert words in kvgossip("put", "odd", *value, exit_code=2)


def test_what_looks_like_something_else_is_written_all_the_same(kvgossip: Shell) -> None:
    for given, kept in ((("--", "-param"), "-param"), (("\\@home",), "@home")):
        kvgossip("put", "odd", *given)
        assert kvgossip("get", "odd") == kept


def test_siblings_are_merged_by_hand(kvgossip: Shell) -> None:
    kvgossip("put", "cart/7", "tea", "--siblings")
    kvgossip("put", "cart/7", "milk", "--siblings")
    assert "has 2 values" in kvgossip("get", "cart/7", exit_code=1)
    assert kvgossip("get", "cart/7", "--newest") == "milk"
    shown = kvgossip("get", "cart/7", "--siblings")
    assert all(part in shown for part in ("tea", "milk", "n1"))

    several = kvgossip.document("get", "cart/7", "--siblings")
    assert shown.endswith(f"context: {several['context']}\n")
    kvgossip("put", "cart/7", "late", "--siblings")
    kvgossip("put", "cart/7", "tea milk", "--context", several["context"])
    after = kvgossip.document("get", "cart/7")
    assert [each["value"] for each in after["siblings"]] == ["tea milk", "late"]
    stays = kvgossip("delete", "cart/7", "--context", several["context"])
    assert "keeps what the context has not seen" in stays
    kvgossip("delete", "cart/7", "--context", after["context"])
    kvgossip("get", "cart/7", exit_code=1)
