"""What a request must pass before its route is asked: protected mode, Hosts, pages of other sites,
the keyring. Over real sockets, on either lane."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from kvgossip.api.access.client import Client
from kvgossip.api.access.doors import FORWARDED
from kvgossip.api.access.hosts import Hosts
from kvgossip.api.lanes import fast
from kvgossip.config import Address, Config, config_from
from kvgossip.config.exposure import open_doors
from kvgossip.protocol.wire.keyring import key_id
from tests.api.serving import Serve, Served, read_reply

EXPRESS, GENERAL = "/kv/a", "/kv?prefix=a"
KEY = bytes(32)


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client is at another machine."""
    monkeypatch.setattr(fast, "client_of", lambda transport: Client("192.0.2.7", False, ""))


async def ask(served: Served, method: str, target: str, *lines: str, body: bytes = b"") -> Any:
    """A request whose headers are these lines alone, and a Content-Length."""
    length = [f"Content-Length: {len(body)}"] if body else []
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, *length, "", ""])
    return await served.raw(head.encode() + body, method == "HEAD")


# -- protected mode ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("stranger")
async def test_a_stranger_is_refused_everything_and_told_the_three_ways_out(served: Served) -> None:
    for method, target in (
        ("GET", EXPRESS), ("PUT", EXPRESS), ("DELETE", EXPRESS), ("GET", GENERAL),
        ("GET", "/status"), ("POST", "/leave"), ("GET", "/v1/kv/a"), ("GET", "/no-such-path"),
        ("GET", "/keyring"),
    ):  # fmt: skip
        reply = await served.call(method, target, b"x" if method == "PUT" else None)
        assert reply.status == 403, target
        assert "protected mode" in reply.json["error"]
        for way in ("--tokens FILE", "--http unix:", "--open-http"):
            assert way in reply.json["hint"]
    assert not served.node.list()


@pytest.mark.usefixtures("stranger")
async def test_a_stranger_may_probe_a_node_by_any_name(served: Served) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await ask(served, "GET", path, "Host: evil.example")).status == 200


@pytest.mark.usefixtures("stranger")
async def test_open_http_serves_strangers_on_both_lanes_but_not_the_keyring(serve: Serve) -> None:
    served = await serve(open_http=True, keyring=(KEY.hex(),))
    assert (await served.call("PUT", EXPRESS, b"1")).status == 200
    assert (await served.call("GET", EXPRESS)).body == b"1"
    assert (await served.call("GET", GENERAL)).status == 200
    for method, body in (("GET", None), ("POST", b'{"action": "use", "key": "00000000"}')):
        reply = await served.call(method, "/keyring", body)
        assert (reply.status, "from the machine of its node" in reply.json["error"]) == (403, True)


def own_address() -> str:
    """An address of this machine beyond loopback; empty where it has none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


@pytest.mark.skipif(not own_address(), reason="this machine has no address beyond loopback")
async def test_who_comes_by_another_address_of_this_machine_is_a_stranger(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.api.serving.ANYWHERE", Address("0.0.0.0", 0))
    served = await serve(gossip=Address("127.0.0.1", 0), advertise=Address("127.0.0.1", 7481))
    port = served.server.address.port
    for host, status in (("127.0.0.1", 404), (own_address(), 403)):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {EXPRESS} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
        assert (await read_reply(reader)).status == status
        writer.close()


# -- Hosts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("127.0.0.1:7480", True),
        ("[::1]:7480", True),
        ("[fe80::1]", True),
        ("10.0.0.5", True),
        ("localhost:7480", True),
        ("LOCALHOST", True),
        ("kv1:7480", True),
        ("", True),
        ("node.local", True),
        ("kv.internal:80", True),
        ("kv.default.svc", True),
        ("kv.default.svc.cluster.local.", True),
        ("app.localhost", True),
        ("KV.Example.com:7480", True),
        ("a.apps.example.com", True),
        ("told.example.org", True),
        ("wan.example.org", True),
        ("also.example.org:9", True),
        ("seed.example.org:7480", True),
        ("apps.example.com", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("1.2.3.4.5", False),
        ("evil.example:7480", False),
        ("evil.local.example", False),
        ("evilsvc.example", False),
        ("user@evil.example", False),
        ("evil.example/..", False),
        ("[::1].evil.example", False),
        ("::1.evil", False),
    ],
)
def test_a_node_is_asked_by_names_that_no_stranger_can_own(host: str, taken: bool) -> None:
    config = Config(
        http_hosts=("kv.example.com", ".apps.example.com"),
        advertise=Address("told.example.org", 7481),
        gateway=True,
        advertise_wan=Address("wan.example.org", 7483),
        http_also=("also.example.org:9", "unix:/run/kv.sock"),
        join=("10.0.0.5", "seed.example.org:7481"),
    )
    assert Hosts(config).takes(host) is taken


async def test_a_foreign_host_gets_421_on_both_lanes_and_changes_nothing(serve: Serve) -> None:
    served = await serve(http_hosts=("kv.example.com",))
    for method, target, body in (
        ("GET", EXPRESS, b""), ("PUT", EXPRESS, b"x"), ("GET", GENERAL, b""),
        ("GET", "/v1/kv/a", b""), ("POST", "/leave", b""), ("GET", "/keyring", b""),
    ):  # fmt: skip
        reply = await ask(served, method, target, "Host: evil.example:7480", body=body)
        assert (reply.status, "evil.example" in reply.json["error"]) == (421, True), target
        assert "--http-hosts" in reply.json["hint"]
    assert not served.node.list()
    assert (await ask(served, "PUT", EXPRESS, "Host: kv.example.com", body=b"1")).status == 200


async def test_the_host_of_every_request_of_a_connection_is_looked_at(served: Served) -> None:
    reader, writer = await served.connect()
    statuses = []
    for host in ("n1", "n1", "n2.local", "n1", "evil.example"):
        writer.write(f"GET {EXPRESS} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        statuses.append((await read_reply(reader)).status)
    writer.close()
    assert statuses == [404, 404, 404, 404, 421]
    assert served.server.statistics()["express"] == 4


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        (EXPRESS, ("Host: node", "Host: evil.example")),
        (EXPRESS, ("Host: evil.example", "Host: node")),
        (f"http://evil.example{EXPRESS}", ("Host: node",)),
    ],
)
async def test_no_second_name_hides_behind_a_good_one(
    served: Served, target: str, lines: tuple[str, ...]
) -> None:
    assert (await ask(served, "GET", target, *lines)).status in (400, 421)


# -- pages of other sites --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
async def test_a_page_of_another_origin_writes_nothing(served: Served, method: str) -> None:
    await served.call("PUT", EXPRESS, b"1")
    target = "/leave" if method == "POST" else EXPRESS
    for origin in ("http://evil.example", "null", "http://node:81", "http://node.evil.example"):
        reply = await served.call(method, target, b"2", Origin=origin)
        assert (reply.status, "page of another site" in reply.json["error"]) == (403, True)
    assert (await served.call("GET", EXPRESS)).body == b"1"
    own = await served.call("PUT", EXPRESS, b"3", Origin="http://node")
    assert (own.status, (await served.call("GET", EXPRESS)).body) == (200, b"3")


@pytest.mark.parametrize(
    ("status", "method", "lines"),
    [
        (403, "GET", ("Sec-Fetch-Site: cross-site",)),
        (403, "HEAD", ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")),
        (403, "GET", ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors")),
        (403, "GET", ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate",
                      "Sec-Fetch-Dest: iframe")),
        (403, "PUT", ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")),
        (403, "PUT", ("Sec-Fetch-Site: same-site", "Origin: http://node:81")),
        (200, "GET", ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate",
                      "Sec-Fetch-Dest: document")),
        (403, "GET", ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors")),
        (403, "GET", ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate",
                      "Sec-Fetch-Dest: iframe")),
        (200, "GET", ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate",
                      "Sec-Fetch-Dest: document")),
        (200, "GET", ("Sec-Fetch-Site: same-origin",)),
        (200, "GET", ("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate")),
    ],
)  # fmt: skip
async def test_a_page_of_another_site_gets_nothing_but_a_link_may_be_followed(
    served: Served, status: int, method: str, lines: tuple[str, ...]
) -> None:
    await served.call("PUT", EXPRESS, b"1")
    reply = await ask(served, method, EXPRESS, "Host: node", *lines, body=b"2" * (method == "PUT"))
    assert reply.status == status
    assert (await served.call("GET", EXPRESS)).body == b"1"


async def test_a_stored_value_is_no_page_of_this_origin_by_whichever_way(served: Served) -> None:
    page = b"<script>alert(1)</script>"
    await served.call("PUT", EXPRESS, page, content_type="text/html")
    version = (await served.call("GET", EXPRESS)).headers["kv-version"]
    for target in (EXPRESS, f"/history/a?version={version}", "/v1/kv/a?raw"):
        for method in ("GET", "HEAD"):
            headers = (await served.call(method, target)).headers
            assert headers["content-security-policy"] == "sandbox"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"


async def test_no_answer_is_for_a_page_of_another_origin_whatever_it_says(served: Served) -> None:
    await served.call("PUT", EXPRESS, b"1")
    for target in (EXPRESS, "/kv/absent", GENERAL, "/status", "/healthz", "/metrics", "/no-such"):
        for method in ("GET", "HEAD"):
            headers = (await served.call(method, target)).headers
            assert headers["cross-origin-resource-policy"] == "same-origin", target
            assert headers["x-content-type-options"] == "nosniff"


# -- the keyring -------------------------------------------------------------------------------------------


async def test_the_keyring_is_this_machines_alone_and_no_proxys(serve: Serve) -> None:
    served = await serve(keyring=(KEY.hex(),))
    order = json.dumps({"action": "install", "key": "ab" * 32}).encode()
    for name in (each.replace("-", "_") for each in FORWARDED):
        for method, body in (("GET", None), ("POST", order)):
            reply = await served.call(method, "/keyring", body, **{name: "192.0.2.7"})
            assert (reply.status, "kvgossip keyring" in reply.json["hint"]) == (403, True)
    assert served.node.status()["keyring"]["keys"] == [key_id(KEY)]
    assert (await served.call("POST", "/keyring", order)).status == 200
    assert (await served.call("GET", "/keyring")).json["nodes"][0]["keys"][0] == key_id(KEY)


@pytest.mark.usefixtures("stranger")
async def test_an_outsider_replaces_no_keyring_over_http(serve: Serve) -> None:
    served = await serve(keyring=(KEY.hex(),), open_http=True, identity="", require_identity=False)
    mine = bytes(range(32))
    for action, key in (("install", mine.hex()), ("use", key_id(mine)), ("remove", key_id(KEY))):
        body = json.dumps({"action": action, "key": key}).encode()
        assert (await served.call("POST", "/keyring", body)).status == 403
    assert served.node.status()["keyring"] == {"primary": key_id(KEY), "keys": [key_id(KEY)]}


# -- what is open is told ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "opened"),
    [
        ({}, ("gossip",)),
        ({"gossip": "127.0.0.1:0"}, ()),
        ({"gossip": "[::1]:0"}, ()),
        ({"keyring": KEY.hex().split()}, ()),
        ({"gossip": "127.0.0.1:0", "gateway": True, "wan": "10.0.0.5:1"}, ("gossip",)),
        ({"gossip": "127.0.0.1:0", "http": "0.0.0.0:80"}, ()),
        ({"gossip": "127.0.0.1:0", "http": "0.0.0.0:80", "open_http": True}, ("http",)),
        ({"gossip": "127.0.0.1:0", "http": "localhost:80", "open_http": True}, ()),
        ({"gossip": "127.0.0.1:0", "http": "kv.example:80", "open_http": True}, ("http",)),
        ({"gossip": "127.0.0.1:0", "http": "unix:/run/x", "open_http": True}, ()),
        ({"http": "localhost:80,10.0.0.5:80", "open_http": "yes"}, ("http", "gossip")),
    ],
)
def test_open_is_what_everybody_reaches(settings: dict[str, Any], opened: tuple[str, ...]) -> None:
    assert open_doors(config_from(settings)) == opened


async def test_an_open_node_says_so_in_status_metrics_and_to_the_doctor(serve: Serve) -> None:
    shut = await serve("shut")
    assert (await shut.call("GET", "/status")).json["open"] == []
    assert b'kvgossip_open{door="gossip"} 0.0' in (await shut.call("GET", "/metrics")).body
    assert (await shut.call("POST", "/doctor")).json["findings"] == []
    opened = await serve(
        "open", gossip=Address("0.0.0.0", 0), advertise=Address("127.0.0.1", 7481), open_http=True,
        http_also=("0.0.0.0:80",),
    )  # fmt: skip
    assert (await opened.call("GET", "/status")).json["open"] == ["http", "gossip"]
    metrics = (await opened.call("GET", "/metrics")).body
    for door in (b"http", b"gossip"):
        assert b'kvgossip_open{door="%s"} 1.0' % door in metrics
    report = (await opened.call("POST", "/doctor")).json
    # it is its owner's decision: told, and no fault
    assert report["healthy"]
    assert [each["code"] for each in report["findings"]] == ["open_http", "open_gossip"]
    assert "--keyring FILE" in report["findings"][1]["text"]
