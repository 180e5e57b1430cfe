"""Rights: every route with every kind of token, and what a token does not give appears nowhere."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import consul
import pytest

from kvgossip.api.access import audit
from kvgossip.api.access.audit import Audit
from kvgossip.api.access.rights import Right
from kvgossip.api.access.tokens import Token
from kvgossip.api.http.route import Route
from kvgossip.api.server import FAMILIES
from kvgossip.runtime.node import Node
from tests.api.access.tokens_file import KINDS, make_tokens
from tests.api.serving import Reply, Serve, Served, read_reply

ROUTES = {f"{route.method} {route.path}": route for family in FAMILIES for route in family.ROUTES}
LEAVES = "POST /leave"
PUBLIC = Token("anonymous", read=("public/",), metrics=True)

READER, WRITER, METRICS, ADMIN = "reader", "writer", "metrics", "admin"
EVERYBODY = {READER, WRITER, METRICS, ADMIN, "anonymous", "none", "unknown", "two"}
KNOWN = {READER, WRITER, METRICS, ADMIN, "anonymous"}
TOLD = {METRICS, ADMIN, "anonymous"}
MAY: dict[str, set[str]] = {
    # the anonymous one may read under public/, and these ask under app/
    "GET /kv/{key}": {READER, ADMIN},
    "PUT /kv/{key}": {WRITER, ADMIN},
    "POST /kv/{key}": {WRITER, ADMIN},
    "DELETE /kv/{key}": {WRITER, ADMIN},
    "GET /kv": {READER, ADMIN},
    "GET /folders": {READER, ADMIN},
    "POST /batch": {WRITER, ADMIN},
    "GET /history/{key}": {READER, ADMIN},
    "GET /conflicts": {READER, ADMIN},
    "GET /story": {ADMIN},
    "POST /story": {ADMIN},
    "GET /story/{key}": {READER, ADMIN},
    "GET /differences": {READER, ADMIN},
    "GET /differences/{key}": {READER, ADMIN},
    "POST /exchange": {ADMIN},
    "GET /releases/{key}": {READER, ADMIN},
    "PUT /releases/{key}": {WRITER, ADMIN},
    "POST /releases/{key}": {WRITER, ADMIN},
    "GET /watch": {READER, ADMIN},
    "GET /members": TOLD,
    "GET /status": TOLD,
    "GET /converge": TOLD,
    "GET /rtt": TOLD,
    "GET /cluster": TOLD,
    "GET /series": TOLD,
    "GET /events": TOLD,
    "POST /doctor": {ADMIN},
    "POST /doctor/config": {ADMIN},
    "GET /healthz": EVERYBODY,
    "GET /readyz": EVERYBODY,
    "POST /join": {ADMIN},
    "POST /leave": {ADMIN},
    "POST /settle": {ADMIN},
    "POST /block": {ADMIN},
    "POST /unblock": {ADMIN},
    "POST /force-leave": {ADMIN},
    "GET /keyring": {ADMIN},
    "POST /keyring": {ADMIN},
    "GET /export": {ADMIN},
    "POST /import": {ADMIN},
    "GET /quarantine": {ADMIN},
    "GET /quarantine/value": {ADMIN},
    "POST /quarantine/restore": {ADMIN},
    "POST /quarantine/discard": {ADMIN},
    "POST /quarantine/confirm": {ADMIN},
    "GET /ui/{key}": EVERYBODY,
    "GET /openapi.json": KNOWN,
    "GET /metrics": TOLD,
    "GET /v1/kv/{key}": {READER, ADMIN},
    "PUT /v1/kv/{key}": {WRITER, ADMIN},
    "DELETE /v1/kv/{key}": {WRITER, ADMIN},
    "GET /v1/agent/members": TOLD,
    "GET /v1/agent/self": TOLD,
    "GET /v1/status/leader": TOLD,
    "GET /v1/status/peers": TOLD,
    "GET /v1/catalog/datacenters": TOLD,
}
Headers = Any
"""Names with values, as keyword arguments of a call."""
QUERIES = {
    "GET /kv": "?prefix=app/",
    "GET /folders": "?prefix=app/",
    "GET /conflicts": "?prefix=app/",
    "GET /differences": "?member=x&prefix=app/",
    "GET /watch": "?prefix=app/&poll&timeout=0",
}
BODIES = {"POST /batch": b'{"operations": [{"put": "app/a", "value": "1"}]}'}


@pytest.fixture
async def guarded(serve: Serve, tmp_path: Path) -> Guarded:
    return await guard(serve, tmp_path, *KINDS.values())


class Guarded:
    """A node with tokens, and the secret of each kind."""

    def __init__(self, served: Served, path: Path, secrets: dict[str, str]) -> None:
        self.served, self.path = served, path
        self.secrets = {**secrets, "unknown": "kvgossip_nobodys", "none": "", "anonymous": ""}

    async def call(
        self, kind: str, method: str, target: str, body: bytes | None = None, **headers: str
    ) -> Reply:
        """`kind`: whose token is sent; "two": two that differ."""
        if kind == "two":
            headers |= {"X_Consul_Token": self.secrets[READER], "Authorization": "Bearer x"}
        elif secret := self.secrets[kind]:
            headers |= {"Authorization": f"Bearer {secret}"}
        return await self.served.call(method, target, body, **headers)

    async def replace(self, *sections: Token) -> None:
        """Other sections, and new secrets."""
        self.secrets |= make_tokens(self.path, *sections)
        file = self.served.server._access._file
        assert file is not None
        await file.reload()


async def guard(serve: Serve, tmp_path: Path, *sections: Token) -> Guarded:
    path = tmp_path / "tokens"
    secrets = make_tokens(path, *sections)
    return Guarded(await serve(tokens=str(path)), path, secrets)


def refusal_of(kind: str) -> int:
    return {"none": 401, "anonymous": 401, "unknown": 401, "two": 400}.get(kind, 403)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.001)


async def ask(guarded: Guarded, kind: str, name: str, route: Route, **headers: str) -> Reply:
    target = route.path.replace("{key}", "app/a") + QUERIES.get(name, "")
    body = BODIES.get(name, b"{}" if route.method in ("POST", "PUT") else None)
    return await guarded.call(kind, route.method, target, body, **headers)


async def check_all(guarded: Guarded, kinds: set[str]) -> None:
    for name, route in ROUTES.items():
        for kind in kinds:
            if name == LEAVES and kind == ADMIN:
                continue
            reply = await ask(guarded, kind, name, route)
            if kind in MAY[name]:
                assert reply.status not in (401, 403, 405, 500, 501), (name, kind, reply)
            else:
                assert reply.status == refusal_of(kind), (name, kind, reply)
                assert reply.json["hint"], (name, kind)
                assert ("www-authenticate" in reply.headers) == (reply.status in (401, 403))


def test_the_table_has_every_route() -> None:
    assert MAY.keys() == ROUTES.keys()


async def test_every_route_asks_every_kind_of_token_for_its_right(guarded: Guarded) -> None:
    await check_all(guarded, {READER, WRITER, METRICS, ADMIN, "none", "unknown", "two"})
    assert (await guarded.call(ADMIN, "POST", "/leave")).json == {"left": True}


async def test_who_sends_no_token_may_what_stands_under_anonymous(
    serve: Serve, tmp_path: Path
) -> None:
    guarded = await guard(serve, tmp_path, PUBLIC, KINDS[ADMIN])
    await check_all(guarded, {"anonymous"})
    await guarded.call(ADMIN, "PUT", "/kv/public/a", b"1")
    assert (await guarded.call("none", "GET", "/kv/public/a")).body == b"1"
    assert (await guarded.call("none", "GET", "/kv?prefix=public/")).status == 200
    assert (await guarded.call("unknown", "GET", "/kv/public/a")).status == 401


async def test_without_a_file_a_token_that_is_sent_is_told_that_it_means_nothing(
    served: Served,
) -> None:
    for name, route in ROUTES.items():
        if route.right is Right.OPEN:
            continue
        target = route.path.replace("{key}", "app/a")
        for headers in ({"Authorization": "Bearer x"}, {"X_Consul_Token": "x"}):
            reply = await served.call(route.method, target, b"{}", **headers)
            assert reply.status == 501, name
            assert "this node has no tokens" in reply.json["error"]
        assert (await served.call(route.method, f"{target}?token=x", b"{}")).status == 501, name
    nothing: tuple[Headers, ...] = (
        {"X_Consul_Token": ""},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic x"},
    )
    for headers in nothing:
        assert (await served.call("PUT", "/kv/a", b"1", **headers)).status == 200
        assert (await served.call("GET", "/kv/a", x="1", **headers)).body == b"1"
    assert (await served.call("GET", "/v1/kv/a?token=&raw")).body == b"1"
    assert (await served.call("GET", "/healthz", X_Consul_Token="x")).status == 200


LANES: tuple[Headers, ...] = ({}, {"X_Other": "1"})
"""A header that the express lane does not know has the request handed over."""


@pytest.mark.parametrize("other", LANES)
async def test_both_lanes_ask_for_the_right_on_the_decoded_key(
    other: Headers, guarded: Guarded
) -> None:
    async def statuses(kind: str, key: str) -> tuple[int, int, int]:
        put = await guarded.call(kind, "PUT", f"/kv/{key}", b"1", **other)
        got = await guarded.call(kind, "GET", f"/kv/{key}", **other)
        deleted = await guarded.call(kind, "DELETE", f"/kv/{key}", **other)
        return put.status, got.status, deleted.status

    for key in ("app/a", "app%2Fa", "%61pp/%61", "app//a", "app/%C3%A7"):
        assert await statuses(READER, key) == (403, 404, 403), key
        assert await statuses(WRITER, key) == (200, 403, 200), key
    for key in ("app", "App/a", "ap", "app%2", "x/app/a", "%2561pp/a"):
        assert await statuses(READER, key) == (403, 403, 403), key
        assert await statuses(WRITER, key) == (403, 403, 403), key
    assert await statuses(WRITER, "app/../x") == (400, 403, 400)
    assert await statuses("none", "app/a") == (401, 401, 401)
    assert await statuses(ADMIN, "x/y") == (200, 200, 200)
    counts = guarded.served.server._connections.counts
    assert counts["handed_over" if other else "express"] > 0
    assert not counts["express" if other else "handed_over"]


@pytest.mark.parametrize("other", LANES)
async def test_a_token_comes_in_one_of_consuls_three_ways(other: Headers, guarded: Guarded) -> None:
    secret = guarded.secrets[ADMIN]
    call = guarded.served.call
    assert (await call("PUT", "/kv/a", b"1", X_Consul_Token=secret, **other)).status == 200
    assert (await call("GET", "/kv/a", Authorization=f"bearer  {secret} ", **other)).body == b"1"
    assert (await call("GET", f"/v1/kv/a?raw&token={secret}", **other)).body == b"1"
    assert (await call("GET", f"/kv/a?token={secret}", **other)).body == b"1"
    both: Headers = {"X_Consul_Token": secret, "Authorization": f"Bearer {secret}"}
    assert (await call("GET", f"/kv/a?token={secret}", **both, **other)).body == b"1"
    assert (await call("GET", "/kv/a?token=x", **both, **other)).status == 400
    for wrong in (secret[:-1], secret.lower(), f"{secret}x", secret.replace("_", "%5F", 1)):
        assert (await call("GET", "/kv/a", X_Consul_Token=wrong, **other)).status == 401


async def test_a_list_lies_under_a_granted_prefix_or_is_refused_as_a_whole(
    guarded: Guarded,
) -> None:
    cursor = (await guarded.call(ADMIN, "GET", "/watch?poll&timeout=0")).json["cursor"]
    for key in ("app/a", "apple", "secret/b"):
        await guarded.call(ADMIN, "PUT", f"/kv/{key}", b"1")
    lists = (
        "/kv?prefix={}",
        f"/watch?poll&timeout=0&since={cursor}&prefix={{}}",
        "/v1/kv/{}?recurse",
        "/v1/kv/{}?keys",
        "/v1/kv/{}?keys&separator=/",
    )
    for target in lists:
        for prefix in ("app/", "app/a"):
            reply = await guarded.call(READER, "GET", target.format(prefix))
            assert reply.status == 200, target
            assert b"app/" in reply.body
            assert b"apple" not in reply.body
        for prefix in ("", "a", "app", "secret/"):
            reply = await guarded.call(READER, "GET", target.format(prefix))
            assert reply.status == 403, (target, prefix)
            assert "reader lacks the right 'read' for" in reply.json["error"]
    assert (await guarded.call(READER, "GET", "/watch?key=apple")).status == 403
    assert (await guarded.call(WRITER, "DELETE", "/v1/kv/app?recurse")).status == 403
    assert (await guarded.call(ADMIN, "GET", "/kv/apple")).status == 200
    assert (await guarded.call(WRITER, "DELETE", "/v1/kv/app/?recurse")).status == 200
    assert (await guarded.call(ADMIN, "GET", "/kv/app/a")).status == 404


async def test_a_batch_is_checked_whole_before_its_first_write(guarded: Guarded) -> None:
    async def status(kind: str, *operations: dict[str, str]) -> int:
        body = json.dumps({"operations": operations}).encode()
        return (await guarded.call(kind, "POST", "/batch", body)).status

    own, other = {"put": "app/a", "value": "1"}, {"put": "b", "value": "1"}
    for denied in (other, {"delete": "b"}, {"get": "app/a"}):
        assert await status(WRITER, own, denied) == 403
        assert (await guarded.call(ADMIN, "GET", "/kv/app/a")).status == 404
    assert await status(READER, {"get": "app/a"}) == 200
    assert await status(READER, {"get": "app/a"}, own) == 403
    assert await status(READER, {"get": "b"}) == 403
    assert await status("none", own) == 401
    assert await status(WRITER, own, {"delete": "app/b"}) == 200
    assert (await guarded.call(ADMIN, "GET", "/kv/app/a")).body == b"1"


async def test_what_lies_under_other_prefixes_is_in_no_answer(guarded: Guarded) -> None:
    planted = ("PLANTED-key", "PLANTED-value", "PLANTED-type")
    for prefix in ("secret/", "ap", "zz/"):
        for _ in range(2):
            put = await guarded.call(
                ADMIN, "PUT", f"/kv/{prefix}{planted[0]}", b"PLANTED-value",
                Content_Type=f"text/{planted[2]}",
            )  # fmt: skip
            assert put.status == 200
    await guarded.call(ADMIN, "PUT", "/kv/app/a", b"1")
    await guarded.call(ADMIN, "PUT", "/kv/app/a", b"2")
    queries = ("", "?recurse", "?keys", "?raw", "?prefix=", "?prefix=app/", "?poll&timeout=0&since=0",
               "?values=text&poll&timeout=0&since=0&prefix=app/", "?keys&separator=/")  # fmt: skip
    for kind in (READER, WRITER, METRICS, "none", "unknown", "two"):
        for name, route in ROUTES.items():
            for key in ("app/a", "app/", "", "secret/"):
                for query in queries:
                    target = route.path.replace("{key}", key) + query
                    if route.method != "GET" or ("{key}" not in route.path and key):
                        continue
                    reply = await guarded.call(
                        kind,
                        "HEAD" if target in ("/watch", "/watch?prefix=app/") else "GET",
                        target,
                    )
                    assert b"PLANTED" not in reply.body, (name, kind, target)


async def read_events(reader: asyncio.StreamReader, until: bytes) -> bytes:
    async with asyncio.timeout(30):
        return await reader.readuntil(until)


async def test_grants_do_not_outlive_the_tokens_they_were_found_in(guarded: Guarded) -> None:
    await guarded.call(ADMIN, "PUT", "/kv/app/a", b"1")
    reader, writer = await guarded.served.connect()
    request = (
        f"GET /kv/app/a HTTP/1.1\r\nHost: n\r\nX-Consul-Token: {guarded.secrets[READER]}\r\n\r\n"
    )

    async def status() -> int:
        writer.write(request.encode())
        return (await read_reply(reader)).status

    assert [await status(), await status()] == [200, 200]
    before = guarded.path.read_text()
    await guarded.replace(KINDS[ADMIN])
    assert [await status(), await status()] == [401, 401]
    guarded.path.write_text(before.replace('["app/"]', '["other/"]'))
    file = guarded.served.server._access._file
    assert file is not None
    await file.reload()
    assert await status() == 403
    guarded.path.write_text(before)
    await file.reload()
    assert await status() == 200
    writer.close()


@pytest.mark.parametrize("settles", [True, False])
async def test_a_stream_ends_once_its_token_may_not_read_it_any_more(
    settles: bool, serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    secrets = make_tokens(path, *KINDS.values())
    joins = {} if settles else {"join": ("127.0.0.1:1",)}
    guarded = Guarded(await serve(tokens=str(path), **joins), path, secrets)
    streams = []
    for kind in (READER, ADMIN):
        reader, writer = await guarded.served.connect()
        token = guarded.secrets[kind]
        writer.write(
            f"GET /watch?prefix=app/ HTTP/1.1\r\nHost: n\r\nX-Consul-Token: {token}\r\n\r\n".encode()
        )
        assert b"200 OK" in await read_events(reader, b"\r\n\r\n")
        await read_events(reader, b"\n\n")
        streams.append((reader, writer))
    kept = [each for each in path.read_text().split("\n\n") if "admin" in each]
    path.write_text("\n".join(kept))
    file = guarded.served.server._access._file
    assert file is not None
    await file.reload()
    async with asyncio.timeout(30):
        told = await streams[0][0].read()
    assert b"event: cut" in told
    assert b"the tokens have changed" in told
    assert guarded.served.server._hub.cut_off["forbidden"] == 1
    assert len(guarded.served.server._hub) == 1
    for _, writer in streams:
        writer.close()


@pytest.mark.parametrize("target", ["/watch?poll&prefix=app/", "/v1/kv/app/a?index={}&wait=1m"])
async def test_who_waits_for_a_change_gets_none_once_its_token_may_not_read_it(
    target: str, guarded: Guarded
) -> None:
    await guarded.call(ADMIN, "PUT", "/kv/app/a", b"1")
    index = (await guarded.call(READER, "GET", "/v1/kv/app/a")).headers["x-consul-index"]
    asked = asyncio.create_task(guarded.call(READER, "GET", target.format(index)))
    watching = guarded.served.server._watching
    await until(lambda: bool(watching.statistics()["polls"]))
    await guarded.replace(KINDS[ADMIN])
    await guarded.call(ADMIN, "PUT", "/kv/app/a", b"later")
    async with asyncio.timeout(30):
        reply = await asked
    assert reply.status == 401
    assert b"later" not in reply.body


async def test_readyz_says_a_word_to_strangers_and_the_reasons_to_those_who_may_ask(
    serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    secrets = make_tokens(path, *KINDS.values())
    served = await serve(tokens=str(path), join=("127.0.0.1:1",))
    guarded = Guarded(served, path, secrets)
    for kind in ("none", "unknown", READER):
        reply = await guarded.call(kind, "GET", "/readyz")
        assert reply.status == 503
        assert reply.json == {"error": "the node is not ready", "hint": "", "settled": False}
    assert (await guarded.call(METRICS, "GET", "/readyz")).json["reasons"]


async def test_status_and_metrics_tell_of_the_tokens_and_show_none(guarded: Guarded) -> None:
    await guarded.call("none", "GET", "/kv/a")
    reply = await guarded.call(METRICS, "GET", "/status")
    told = reply.json["tokens"]
    assert told["names"] == ["reader", "writer", "metrics", "admin"]
    assert (len(told["fingerprint"]), told["problem"]) == (16, None)
    metrics = (await guarded.call(METRICS, "GET", "/metrics")).body
    for line in (b"kvgossip_tokens 4.0", b"kvgossip_tokens_broken 0.0"):
        assert line in metrics
    assert b"kvgossip_http_access_refused_total 1.0" in metrics
    guarded.path.write_text("[a]\nread = 1")
    file = guarded.served.server._access._file
    assert file is not None
    await file.reload()
    assert "line 2" in (await guarded.call(METRICS, "GET", "/status")).json["tokens"]["problem"]
    assert b"kvgossip_tokens_broken 1.0" in (await guarded.call(METRICS, "GET", "/metrics")).body
    for secret in filter(None, guarded.secrets.values()):
        assert secret.encode() not in reply.body + metrics


async def test_doctor_names_members_whose_tokens_differ(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one = await guard(serve, tmp_path, KINDS[ADMIN])
    target = (str(one.served.node.address),)
    two = await serve("n2", tokens=str(one.path), join=target)
    make_tokens(tmp_path / "other" / "tokens", KINDS[ADMIN])
    three = await serve("n3", tokens=str(tmp_path / "other" / "tokens"), join=target)
    four = await serve("n4", join=target)
    for each in (two, three, four):
        await each.node.wait_settled()
    await until(lambda: len(one.served.node.members()) == 4)
    report = (await one.call(ADMIN, "POST", "/doctor")).json
    found = {
        each["code"]: each["members"] for each in report["findings"] if "tokens" in each["code"]
    }
    assert found == {"tokens_differ": ["n3"], "tokens_missing": ["n4"]}


# -- Consul's clients ------------------------------------------------------------------------------


async def test_py_consul_works_with_a_token_and_is_told_without(guarded: Guarded) -> None:
    def script(token: str | None) -> Any:
        client = consul.Consul(*guarded.served.server.address, token=token)
        try:
            assert client.kv.put("app/a", "1") is True
            assert client.kv.get("app/", recurse=True)[1][0]["Value"] == b"1"
            assert client.kv.get("app/", keys=True)[1] == ["app/a"]
            return client.kv.delete("app/", recurse=True)
        finally:
            client.http.session.close()

    assert await asyncio.to_thread(script, guarded.secrets[ADMIN]) is True
    with pytest.raises(consul.ACLDisabled):
        await asyncio.to_thread(script, None)
    with pytest.raises(consul.ACLPermissionDenied):
        await asyncio.to_thread(script, guarded.secrets[READER])


# -- the audit log -----------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "kvgossip.audit"]


async def test_each_command_is_one_line_with_who_what_and_its_outcome(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    key = "ab" * 32
    await guarded.call(ADMIN, "POST", "/block", b'{"target": "10.0.0.9"}')
    await guarded.call(ADMIN, "POST", "/unblock", b'{"target": "nobody"}')
    await guarded.call(ADMIN, "POST", "/block", b"nonsense")
    body = json.dumps({"action": "install", "key": key}).encode()
    await guarded.call(ADMIN, "POST", "/keyring", body)
    await guarded.call(ADMIN, "GET", f"/export?token={guarded.secrets[ADMIN]}")
    await guarded.call(ADMIN, "GET", "/kv/a")
    assert lines(caplog) == [
        "admin at 127.0.0.1: POST /block target='10.0.0.9': done",
        "admin at 127.0.0.1: POST /unblock target='nobody': failed with 404",
        "admin at 127.0.0.1: POST /block: failed with 400",
        "admin at 127.0.0.1: POST /keyring action='install', key='a key': failed with 409",
        "admin at 127.0.0.1: GET /export: done",
    ]
    record = next(each for each in caplog.records if each.name == "kvgossip.audit")
    told = {name: getattr(record, name) for name in ("who", "address", "what", "outcome")}
    assert told == {
        "who": "admin",
        "address": "127.0.0.1",
        "what": "POST /block target='10.0.0.9'",
        "outcome": "done",
    }


async def test_what_is_refused_is_a_line_and_of_many_one_in_a_while_with_their_count(
    guarded: Guarded, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await guarded.call(WRITER, "PUT", "/kv/x%0Ay", b"1")
    for _ in range(3):
        await guarded.call("unknown", "POST", "/leave")
    await guarded.call(READER, "PUT", "/kv/app/a", b"1", x="1")
    assert lines(caplog) == ["writer at 127.0.0.1: write 'x\\ny': refused with 403"]
    guarded.served.server._access.audit.close()
    assert lines(caplog)[1:] == [
        "several: 4 requests: refused: 3 of unknown at 127.0.0.1, 1 of reader at 127.0.0.1"
    ]
    for secret in filter(None, guarded.secrets.values()):
        assert secret not in caplog.text


async def test_those_who_are_refused_all_the_time_are_counted_under_few_names(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAUSE_S", 0.01)
    log = Audit()
    for number in range(1000):
        log.refused("", f"10.0.0.{number % 100}", "GET /kv", 401)
    await until(lambda: len(lines(caplog)) > 1)
    assert len(lines(caplog)) == 2
    assert lines(caplog)[1].startswith("several: 999 requests: refused: ")
    assert lines(caplog)[1].count(" of ") == audit.NAMES_MAX + 1
    assert log.refusals == 1000
    log.close()


async def test_the_secret_of_a_request_that_fails_is_not_in_the_log(
    guarded: Guarded, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Node) -> dict[str, Any]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Node, "status", fail)
    secret = guarded.secrets[ADMIN]
    assert (await guarded.served.call("GET", f"/status?token={secret}")).status == 500
    assert "GET /status failed" in caplog.text
    assert secret not in caplog.text
