"""What web pages can do to an agent on this machine, in Chromium: nothing, but from its own address.

Each attack is first made on a node without doors, where all of it works.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.agents import Agent
from kvgossip.api.access.tokens import Token
from tests.api.access.tokens_file import make_tokens
from tests.api.tls.files import HOST, ca_of, made
from tests.browser.chromium import believing, browsing
from tests.browser.sites import OF_NO_ORIGIN, Doorless, site

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.outside

PATIENCE_S = 120.0
ATTACK = (Path(__file__).parent / "attack.js").read_text()
SECRET = "cafe-0123"
RUNS = """
const request = new XMLHttpRequest()
request.open('GET', '/kv/secret', false)
request.send()
const other = new XMLHttpRequest()
other.open('PUT', '/kv/run-by-a-page', false)
other.send(request.responseText)
"""
"""A script that has done its work before its page is loaded."""
SVG, XHTML = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"
PAGES = {
    "page.html": (f"<!doctype html><p>{SECRET}<script>{RUNS}</script>", "text/html"),
    "event.html": (f'<!doctype html><body onload="{RUNS}">', "text/html; charset=utf-8"),
    "page.svg": (f'<svg xmlns="{SVG}"><script>{RUNS}</script></svg>', "image/svg+xml"),
    "page.xhtml": (
        f'<html xmlns="{XHTML}"><body><script>{RUNS}</script></body></html>',
        "application/xhtml+xml",
    ),
    "page.xml": (f'<a xmlns="{XHTML}"><script>{RUNS}</script></a>', "text/xml"),
}
DOT = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")
VALUES = {
    "secret": (SECRET.encode(), "text/plain"),
    "secret.js": (f"globalThis.stolen = '{SECRET}'".encode(), "text/javascript"),
    "secret.css": (f":root {{ --stolen: {SECRET} }}".encode(), "text/css"),
    "secret.png": (DOT, "image/gif"),
    **{name: (text.encode(), kind) for name, (text, kind) in PAGES.items()},
}
TRICKS = {
    "fetch with a cookie", "xhr", "script", "module", "image", "style sheet",
    "whether a key is there", "event stream", "web socket",
}  # fmt: skip
"""What tells a page of another origin something, where no door hinders it."""
ONLY_OF_ONE_ORIGIN = {"fetch no-cors", "frame", "frame of a stored page", "window"}
"""What no page of another origin can read, whatever the node is."""
RUN = ("PUT", "/kv/run-by-a-page")
FORMS = {("POST", "/leave?form"), ("POST", "/batch?form"), ("POST", "/import?form")}
REFUSED = '{"error":"this node is not asked by the name'
"""What a page reads that has the node's origin, and a name of its own."""


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> bytes:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    request = urllib.request.Request(url, body, named, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())


@contextmanager
def running(folder: Path, *options: str, **parameters: object) -> Iterator[Agent]:
    """An agent, with its log in `folder`."""
    agent = Agent("n1", options=options, parameters=parameters, log=folder / "log")
    try:
        agent.start()
        agent.settle()
        yield agent
    finally:
        agent.stop()


class Victim:
    """An agent without tokens, asked by the name kv.example too, which holds VALUES."""

    def __init__(self, agent: Agent, log: Path) -> None:
        self.url, self.port, self._log = agent.url, agent.address[1], log
        for key, (value, kind) in VALUES.items():
            ask(f"{self.url}/kv/{key}", "PUT", value, content_type=kind)
        described = json.loads(ask(f"{self.url}/openapi.json"))["paths"]
        every = [(method.upper(), path) for path in described for method in described[path]]
        # the probes say nothing that is worth a door, and a stream does not end
        left_out = ("/healthz", "/readyz", "/watch")
        #: Method and path of all that reads, and of all that writes, as it describes itself.
        self.reads = [
            (method, path.replace("{key}", "secret"))
            for method, path in every
            if method == "GET" and path not in left_out
        ]
        self.writes = [
            (method, path.replace("{key}", "secret" if method == "DELETE" else "written"))
            for method, path in every
            if method != "GET"
        ]
        self._before = self.state()

    def state(self) -> Any:
        """All that a page might change; the rest are counters and times."""
        status = json.loads(ask(f"{self.url}/status"))
        (member,) = json.loads(ask(f"{self.url}/members"))["members"]
        return status["root"], member["state"], json.loads(ask(f"{self.url}/kv"))

    def check(self) -> None:
        """Nothing was written, and nothing was started."""
        assert self.state() == self._before
        assert commands_in(self._log) == []


def commands_in(log: Path) -> list[str]:
    """What was done for somebody, by the audit log, but what only reads."""
    lines = [line for line in log.read_text().splitlines() if line.endswith(": done")]
    return [line for line in lines if ": GET /" not in line]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    with running(tmp_path, http_hosts="kv.example") as agent:
        yield Victim(agent, tmp_path / "log")


async def attack(browser: Browser, url: str, node: str, victim: Victim) -> set[str]:
    """The tricks by which the page at `url` has read something of the node at this address."""
    page = await browser.new_page()
    await page.goto(url)
    tried = {"node": node, "reads": victim.reads, "writes": victim.writes}
    async with asyncio.timeout(PATIENCE_S):
        got = await page.evaluate(ATTACK, tried)
    await page.close()
    return {trick for trick, read in got.items() if read and not read.startswith(REFUSED)}


@asynccontextmanager
async def doorless_site() -> AsyncIterator[tuple[Doorless, int]]:
    """A node without doors that holds VALUES, and its port."""
    doorless = Doorless()
    doorless.values = {f"/kv/{key}": value for key, value in VALUES.items()}
    async with site(doorless) as port:
        yield doorless, port


STRANGERS = [
    # another port is another origin of the same site
    ("http://127.0.0.1:{port}/", "127.0.0.1"),
    ("http://stranger.example:{port}/", "127.0.0.1"),
    (f"http://127.0.0.1:{{port}}{OF_NO_ORIGIN}", "127.0.0.1"),
    # plain HTTP beyond loopback: the browser does not say whose a request is
    ("http://stranger.example:{port}/", "kv.example"),
    ("http://kv.example:{port}/", "kv.example"),
]
"""A page, and the host by which it asks the node."""


async def test_a_page_of_another_origin_reads_writes_and_starts_nothing(victim: Victim) -> None:
    async with browsing() as browser, site() as port, doorless_site() as (doorless, open_port):
        for stranger, host in STRANGERS:
            url = stranger.format(port=port)
            works = await attack(browser, url, f"http://{host}:{open_port}", victim)
            assert {f"fetch {path}" for _, path in victim.reads} | TRICKS <= works, stranger
            assert not works & ONLY_OF_ONE_ORIGIN
            assert {*victim.writes, *FORMS, RUN} == doorless.done, stranger
            doorless.done.clear()
            seen = await attack(browser, url, f"http://{host}:{victim.port}", victim)
            assert seen == set(), stranger
    victim.check()


async def test_a_page_whose_name_was_made_to_mean_this_machine_reads_writes_and_starts_nothing(
    victim: Victim,
) -> None:
    async with browsing() as browser, doorless_site() as (doorless, open_port):
        # the page and the node are of one origin, as the browser sees it
        rebound = f"http://evil.example:{open_port}"
        works = await attack(browser, f"{rebound}/healthz", rebound, victim)
        assert ONLY_OF_ONE_ORIGIN | TRICKS - {"whether a key is there"} <= works
        assert {*victim.writes, *FORMS, RUN} == doorless.done
        rebound = f"http://evil.example:{victim.port}"
        assert await attack(browser, f"{rebound}/healthz", rebound, victim) == set()
    victim.check()


async def test_a_stored_page_runs_nothing_by_whichever_way_it_is_read(victim: Victim) -> None:
    async with browsing() as browser, doorless_site() as (doorless, open_port):
        page = await browser.new_page()
        for name in PAGES:
            await page.goto(f"http://127.0.0.1:{open_port}/kv/{name}")
            assert doorless.done == {RUN}, name
            doorless.done.clear()
        for name in PAGES:
            versions = json.loads(ask(f"{victim.url}/history/{name}"))["versions"]
            for way in (
                f"/kv/{name}",
                f"/history/{name}?version={versions[0]['version']}",
                f"/v1/kv/{name}?raw",
            ):
                seen = await page.goto(victim.url + way)
                assert seen is not None
                assert (seen.status, await seen.text()) == (200, PAGES[name][0])
        victim.check()


OWN = """
async (token) => {
  const call = async (method, path, body) => {
    const headers = token ? { Authorization: `Bearer ${token}` } : {}
    const answer = await fetch(path, { method, body, headers })
    return [answer.status, await answer.text()]
  }
  const put = await call('PUT', '/kv/app/a', 'one')
  const headers = { Authorization: `Bearer ${token}` }
  const stream = await fetch('/watch?prefix=app/', { headers })
  const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader()
  await call('PUT', '/kv/app/b', 'two')
  let heard = ''
  while (stream.ok && !heard.includes('app/b')) heard += (await reader.read()).value
  await reader.cancel()
  const other = await call('PUT', '/kv/other', 'x')
  const batch = await call('POST', '/batch',
    JSON.stringify({ operations: [{ put: 'app/c', value: 'three' }] }))
  const got = await call('GET', '/kv/app/a')
  return [put[0], stream.status, other[0], batch[0], ...got]
}
"""
"""What a script does in a tab of the node's own."""


@pytest.mark.parametrize("tls", [False, True])
async def test_a_script_of_the_nodes_own_origin_may_do_what_its_token_may(
    tls: bool, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    section = Token("app", read=("app/",), write=("app/",))
    secrets = make_tokens(tokens, section)
    parameters: dict[str, object] = {"tokens": tokens}
    if tls:
        files = made(tmp_path / "tls")
        parameters |= {"tls_cert": files.cert, "tls_key": files.key}
    async with browsing() as browser:
        with running(tmp_path, **parameters) as agent:
            # no browser of a test trusts the CA of a test
            context = await browser.new_context(ignore_https_errors=True)
            page = await context.new_page()
            await page.goto(f"{agent.url}/healthz")
            async with asyncio.timeout(PATIENCE_S):
                with_token = await page.evaluate(OWN, secrets["app"])
                without = await page.evaluate(OWN, "")
    assert with_token == [200, 200, 403, 200, 200, "one"]
    assert without[:4] == [401] * 4


async def test_a_browser_that_believes_the_ca_reaches_a_node_over_tls_and_no_other_does(
    tmp_path: Path,
) -> None:
    tokens, files, home = tmp_path / "tokens", made(tmp_path / "tls"), tmp_path / "home"
    secrets = make_tokens(tokens, Token("app", read=("app/",), write=("app/",)))
    believing(home, Path(ca_of(files)))
    with running(tmp_path, tokens=tokens, tls_cert=files.cert, tls_key=files.key) as agent:
        url = f"https://{HOST}:{agent.address[1]}/healthz"
        async with browsing(home) as browser:
            page = await browser.new_page()
            answer = await page.goto(url)
            assert answer is not None
            assert answer.status == 200
            async with asyncio.timeout(PATIENCE_S):
                assert await page.evaluate(OWN, secrets["app"]) == [200, 200, 403, 200, 200, "one"]
        stranger = tmp_path / "stranger"
        stranger.mkdir()
        async with browsing(stranger) as browser:
            page = await browser.new_page()
            with pytest.raises(Exception, match="ERR_CERT_AUTHORITY_INVALID"):
                await page.goto(url)
