"""Consul's clients against nodes: what they do with Consul they must be able to do here, unchanged.

The first part is py-consul's own test of its KV class (tests/api/test_kv.py), call by call, but for
its locks, which are refused.
"""

from __future__ import annotations

import asyncio
import struct
import urllib.error
from collections.abc import Callable
from functools import partial
from typing import Any

import consul
import consul_kv
import pytest

from tests.api.serving import Serve, Served

TIMEOUT_S = 30.0
Client = Any
"""consul.Consul has no types."""


async def using(served: Served, script: Callable[[Client], None]) -> None:
    """Run a script with a client of this node, in a thread."""

    def run() -> None:
        client = consul.Consul(*served.server.address)
        try:
            script(client)
        finally:
            client.http.session.close()

    await asyncio.to_thread(run)


# -- py-consul's tests ---------------------------------------------------------------------------


def kv(c: Client) -> None:
    _index, data = c.kv.get("foo")
    assert data is None
    assert c.kv.put("foo", "bar") is True
    _index, data = c.kv.get("foo")
    assert data["Value"] == b"bar"


def kv_wait(c: Client) -> None:
    assert c.kv.put("foo", "bar") is True
    index, _data = c.kv.get("foo")
    check, _data = c.kv.get("foo", index=index, wait="20ms")
    assert index == check


def kv_encoding(c: Client) -> None:
    c.kv.put("foo", struct.pack("i", 1000))
    _index, data = c.kv.get("foo")
    assert struct.unpack("i", data["Value"]) == (1000,)
    c.kv.put("foo", "bar")
    _index, data = c.kv.get("foo")
    assert data["Value"] == b"bar"
    for empty in ("", None):
        c.kv.put("foo", empty)
        _index, data = c.kv.get("foo")
        assert data["Value"] is None


def kv_put_cas(c: Client) -> None:
    assert c.kv.put("foo", "bar", cas=50) is False
    assert c.kv.put("foo", "bar", cas=0) is True
    _index, data = c.kv.get("foo")
    assert c.kv.put("foo", "bar2", cas=data["ModifyIndex"] - 1) is False
    assert c.kv.put("foo", "bar2", cas=data["ModifyIndex"]) is True
    _index, data = c.kv.get("foo")
    assert data["Value"] == b"bar2"


def kv_put_flags(c: Client) -> None:
    c.kv.put("foo", "bar")
    _index, data = c.kv.get("foo")
    assert data["Flags"] == 0
    assert c.kv.put("foo", "bar", flags=50) is True
    _index, data = c.kv.get("foo")
    assert data["Flags"] == 50


def kv_recurse(c: Client) -> None:
    _index, data = c.kv.get("foo/", recurse=True)
    assert data is None
    c.kv.put("foo/", None)
    _index, data = c.kv.get("foo/", recurse=True)
    assert len(data) == 1
    c.kv.put("foo/bar1", "1")
    c.kv.put("foo/bar2", "2")
    c.kv.put("foo/bar3", "3")
    _index, data = c.kv.get("foo/", recurse=True)
    assert [x["Key"] for x in data] == ["foo/", "foo/bar1", "foo/bar2", "foo/bar3"]
    assert [x["Value"] for x in data] == [None, b"1", b"2", b"3"]


def kv_delete(c: Client) -> None:
    c.kv.put("foo1", "1")
    c.kv.put("foo2", "2")
    c.kv.put("foo3", "3")
    _index, data = c.kv.get("foo", recurse=True)
    assert [x["Key"] for x in data] == ["foo1", "foo2", "foo3"]
    assert c.kv.delete("foo2") is True
    _index, data = c.kv.get("foo", recurse=True)
    assert [x["Key"] for x in data] == ["foo1", "foo3"]
    assert c.kv.delete("foo", recurse=True) is True
    _index, data = c.kv.get("foo", recurse=True)
    assert data is None


def kv_delete_cas(c: Client) -> None:
    c.kv.put("foo", "bar")
    index, data = c.kv.get("foo")
    assert c.kv.delete("foo", cas=data["ModifyIndex"] - 1) is False
    assert c.kv.get("foo") == (index, data)
    assert c.kv.delete("foo", cas=data["ModifyIndex"]) is True
    _index, data = c.kv.get("foo")
    assert data is None


def kv_keys_only(c: Client) -> None:
    assert c.kv.put("bar", "4") is True
    assert c.kv.put("base/foo", "1") is True
    assert c.kv.put("base/base/foo", "5") is True
    _index, data = c.kv.get("base/", keys=True, separator="/")
    assert data == ["base/base/", "base/foo"]


def status(c: Client) -> None:
    address = c.agent.self()["Stats"]["consul"]["leader_addr"]
    assert c.status.leader() == address
    assert address in c.status.peers()


@pytest.mark.parametrize(
    "script",
    [
        kv,
        kv_wait,
        kv_encoding,
        kv_put_cas,
        kv_put_flags,
        kv_recurse,
        kv_delete,
        kv_delete_cas,
        kv_keys_only,
        status,
    ],
    ids=lambda script: str(script.__name__),
)
async def test_py_consul_finds_what_its_own_tests_expect_of_consul(
    script: Callable[[Client], None], served: Served
) -> None:
    await using(served, script)


# -- more of it ----------------------------------------------------------------------------------


async def test_py_consul_learns_that_there_are_no_locks_sessions_and_transactions(
    served: Served,
) -> None:
    def script(c: Client) -> None:
        for refused in (
            partial(c.kv.put, "foo", "bar", acquire="s"),
            partial(c.kv.put, "foo", "bar", release="s"),
            c.session.create,
        ):
            with pytest.raises(consul.ConsulException, match=r"501 .*locks"):
                refused()
        with pytest.raises(consul.ConsulException, match=r"501 .*transactions"):
            c.txn.put([{"KV": {"Verb": "set", "Key": "foo", "Value": "YQ=="}}])
        assert c.kv.get("foo")[1] is None

    await using(served, script)


async def test_py_consul_sees_the_members_and_the_datacenter(serve: Serve) -> None:
    served = await serve(datacenter="paris")

    def script(c: Client) -> None:
        (member,) = c.agent.members()
        assert (member["Name"], member["Addr"], member["Status"]) == ("n1", "127.0.0.1", 1)
        assert c.agent.self()["Config"]["Datacenter"] == "paris"
        assert c.catalog.datacenters() == ["paris"]
        assert c.kv.put("a", "1", dc="paris") is True
        with pytest.raises(consul.exceptions.BadRequest, match="paris"):
            c.kv.get("a", dc="tokyo")
        for consistency in ("stale", "consistent", "default"):
            assert c.kv.get("a", consistency=consistency)[1]["Value"] == b"1"

    await using(served, script)


async def test_py_consul_follows_a_key_over_two_nodes_that_take_turns(serve: Serve) -> None:
    """One loop of blocking queries that changes the node after each answer sees every value,
    whichever node it was written on."""
    one = await serve()
    two = await serve("n2", join=(str(one.node.address),))
    await two.node.wait_settled(TIMEOUT_S)
    values = [b"%d" % number for number in range(6)]
    seen: list[bytes] = []

    def follow() -> None:
        clients = consul.Consul(*one.server.address), consul.Consul(*two.server.address)
        index = None
        try:
            for turn in range(1000):
                index, data = clients[turn % 2].kv.get("loop", index=index, wait="5m")
                if data is not None and data["Value"] not in seen:
                    seen.append(data["Value"])
                if seen == values:
                    break
        finally:
            for client in clients:
                client.http.session.close()

    following = asyncio.create_task(asyncio.to_thread(follow))
    for number, value in enumerate(values):
        await (one, two)[number % 2].node.put("loop", value)
        async with asyncio.timeout(TIMEOUT_S):
            while value not in seen:  # noqa: ASYNC110 - a thread sets no event
                await asyncio.sleep(0.005)
    await following
    assert seen == values


# -- consul-kv -----------------------------------------------------------------------------------


async def test_consul_kv_puts_gets_and_deletes(served: Served) -> None:
    def script() -> None:
        host, port = served.server.address
        connection = consul_kv.Connection(endpoint=f"http://{host}:{port}/v1/", timeout=30)
        connection.put("the/key", "the_value")
        assert connection.get("the/key") == {"the/key": "the_value"}
        connection.put("the/other", "ç")
        assert connection.get_mapping("the") == {"the/key": "the_value", "the/other": "ç"}
        assert connection.get_dict("the") == {"the": {"key": "the_value", "other": "ç"}}
        value, index = connection.get_cas("the/key")["the/key"]
        assert (value, index) == ("the_value", connection.get_cas("the/key")["the/key"][1])
        connection.delete("the/key")
        with pytest.raises(urllib.error.HTTPError, match="404") as missing:
            connection.get("the/key")
        missing.value.close()
        connection.delete("the", recurse=True)
        with pytest.raises(urllib.error.HTTPError, match="404") as missing:
            connection.get_mapping("the")
        missing.value.close()
        with pytest.raises(urllib.error.HTTPError, match="501") as refused:
            connection.put_mapping({"a": "1"})
        refused.value.close()

    await asyncio.to_thread(script)
