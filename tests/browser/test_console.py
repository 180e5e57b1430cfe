"""The console in Chromium, on the pages of a real cluster of two with tokens. One cluster and one
browser serve all tests; the last one kills both nodes.

Screenshots of every page, narrow and wide, light and dark, are left in build/console.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from benchmarks.agents import Agent
from kvgossip.api.access.tokens import Token
from tests.api.access.tokens_file import make_tokens
from tests.browser.chromium import browsing
from tests.browser.crowd import DEAD, crowd
from tests.browser.test_pages import ask

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.outside, pytest.mark.asyncio(loop_scope="module")]

SHOTS = Path(__file__).parents[2] / "build" / "console"
PATIENCE_MS = 60_000
KEYS = 1200
EVIL = (
    b"<!doctype html><script>document.title = 'run'</script>"
    b"<img src=x onerror=\"document.title = 'run'\">"
)
# something that only the data of the cluster can bring to each page
SIGNS = {
    "cluster": "tr:has-text('n2'):has-text('alive')",
    "keys?in=config%2F&key=config%2Flimits": "li.present",
    "convergence": "tr:has-text('n2'):has-text('same')",
    "releases": ".tile:has-text('first')",
    "safety": "dd:has-text('ops')",
}
# pairs of names on the map of which one lies on the other
OVERLAPS = """
() => {
  const boxes = [...document.querySelectorAll('.map .name')].map((each) => each.getBBox())
  const meet = (a, b) =>
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
  const on = boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) => meet(a, b)))
  return [boxes.length, on.length]
}
"""
LOOKS = [(400, "light"), (1400, "dark"), (2560, "light")]


class World:
    """Two agents with data and a token."""

    def __init__(self, folder: Path) -> None:
        self.secret = make_tokens(folder / "tokens", Token("ops", admin=True))["ops"]
        parameters = {"profile": "local", "tokens": folder / "tokens"}
        self.agents = [Agent(name, parameters=parameters) for name in ("n1", "n2")]

    @property
    def url(self) -> str:
        return self.agents[0].url

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **more: str) -> bytes:
        return ask(self.url + path, method, body, Authorization=f"Bearer {self.secret}", **more)

    def fill(self) -> None:
        for start in range(0, KEYS, 200):
            puts = [
                {"put": f"many/{number:05d}", "value": str(number)}
                for number in range(start, start + 200)
            ]
            self.ask("/batch", "POST", json.dumps({"operations": puts}).encode())
        for value in (b'{"rate": 10}', b'{"rate": 20}'):
            self.ask("/kv/config/limits", "PUT", value, Content_Type="application/json")
        self.ask("/kv/evil", "PUT", EVIL, Content_Type="text/html")
        self.ask("/releases/shop/?name=first", "PUT", b'{"values": {"rate": 10}}')


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("console"))
    first, second = world.agents
    try:
        first.start()
        first.settle()
        second.start(first.gossip)
        second.settle()
        world.fill()
        yield world
    finally:
        for agent in world.agents:
            agent.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with browsing() as browser:
        yield browser


async def opened(browser: Browser, world: World, place: str = "", **options: Any) -> Page:
    """A tab of its own in which the token was entered; what goes wrong in it fails its test."""
    context = await browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"an error in the page: {error}"))
    await page.goto(f"{world.url}/ui/{place}")
    await page.fill("#token", world.secret)
    await page.click("text=Use it")
    await page.wait_for_selector("#token", state="detached")
    return page


async def violations(page: Page) -> list[str]:
    """What axe-core finds; nothing where it is not installed."""
    if importlib.util.find_spec("axe_playwright_python") is None:
        return []
    from axe_playwright_python.base import AXE_FILE_PATH

    # the policy of the page lets no script in but its own; a debugger may
    await page.evaluate(AXE_FILE_PATH.read_text())
    found = await page.evaluate("async () => (await axe.run()).violations")
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]


async def test_a_token_is_asked_for_and_goes_into_no_url_no_cookie_and_no_other_tab(
    browser: Browser, world: World
) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{world.url}/ui/")
    await page.fill("#token", "kvgossip_nobodys")
    await page.click("text=Use it")
    await page.wait_for_selector("#refused:has-text('does not know')")
    assert await violations(page) == []
    await page.fill("#token", world.secret)
    await page.click("text=Use it")
    await page.wait_for_selector(SIGNS["cluster"])
    assert [url for url in asked if world.secret in url] == []
    assert await context.cookies() == []
    assert world.secret not in await page.evaluate("JSON.stringify(localStorage) + location.href")
    other = await context.new_page()
    await other.goto(f"{world.url}/ui/")
    await other.wait_for_selector("#token")
    await page.click("text=Forget token")
    await page.wait_for_selector("#token")
    await context.close()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
async def test_every_page_shows_the_cluster_fits_its_window_and_breaks_no_rule_of_axe(
    width: int, scheme: str, browser: Browser, world: World
) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    size = {"width": width, "height": 900}
    page = await opened(browser, world, viewport=size, color_scheme=scheme)
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if "Policy" in said.text else None)
    for place, sign in SIGNS.items():
        await page.goto(f"{world.url}/ui/#{place}")
        await page.wait_for_selector(sign)
        name = place.partition("?")[0]
        await page.screenshot(path=SHOTS / f"{name}-{width}-{scheme}.png", full_page=True)
        wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, name
        assert await violations(page) == [], name
    assert refused == []
    await page.context.close()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
async def test_200_members_have_a_map_whose_names_can_be_read_and_a_table_that_finds_them(
    width: int, scheme: str, browser: Browser, world: World
) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    size = {"width": width, "height": 900}
    page = await opened(browser, world, "#keys", viewport=size, color_scheme=scheme)
    answer = json.dumps(crowd(200))
    await page.route("**/cluster", lambda route: route.fulfill(body=answer))
    await page.goto(f"{world.url}/ui/#cluster")
    await page.wait_for_selector("small:has-text('200 members')")
    # of what is wrong with hundreds, the first few stand there
    assert await page.locator(".find").count() == DEAD + 3
    await page.screenshot(path=SHOTS / f"crowd-{width}-{scheme}.png", full_page=True)
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    names, overlaps = await page.evaluate(OVERLAPS)
    assert names > DEAD
    assert overlaps == 0
    assert await page.locator(".map .member").count() == 200
    assert await violations(page) == []
    assert await page.locator("tbody tr").count() == 50
    await page.fill("input[aria-label^='Members']", "tokyo-2")
    await page.wait_for_selector("text=1 found")
    assert await page.locator("tbody tr").count() == 1
    await page.fill("input[aria-label^='Members']", "")
    await page.click("text=Show 150 more rows")
    await page.wait_for_selector("tr:has-text('web-194')")
    await page.context.close()


async def test_a_stored_page_is_shown_as_text_and_runs_nothing(
    browser: Browser, world: World
) -> None:
    page = await opened(browser, world, "#keys?key=evil")
    shown = await page.wait_for_selector("pre[aria-label=Value]")
    assert shown is not None
    assert await shown.text_content() == EVIL.decode()
    assert await page.title() == "Keys · kvgossip"
    assert await page.locator("img").count() == 0
    await page.context.close()


async def test_of_many_keys_those_in_sight_are_in_the_document_and_the_keyboard_reaches_all(
    browser: Browser, world: World
) -> None:
    page = await opened(browser, world, "#keys?in=many%2F")
    await page.wait_for_selector(".row:has-text('00000')")
    await page.focus(".rows")
    await page.keyboard.press("End")
    last = f"{KEYS - 1:05d}"
    await page.wait_for_selector(f".row.at:has-text('{last}')")
    assert await page.locator(".rows .row").count() < 100
    await page.keyboard.press("Enter")
    await page.wait_for_selector(f".detail h2:has-text('many/{last}')")
    world.ask(f"/kv/many/{last}", "PUT", b"changed")
    await page.wait_for_selector(f".row:has-text('{last}'):has-text('changed')")
    await page.wait_for_selector(".detail pre:has-text('changed')")
    await page.fill("header input", "0777")
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".list h2:has-text('1 key with')")
    await page.context.close()


async def test_an_edit_never_overwrites_unseen_and_shows_who_holds_it(
    browser: Browser, world: World
) -> None:
    world.ask("/kv/config/theme", "PUT", b"dark", Content_Type="text/plain")
    page = await opened(browser, world, "#keys?in=config%2F&key=config%2Ftheme")
    await page.click("text=Edit")
    await page.fill("textarea", "mine")
    world.ask("/kv/config/theme", "PUT", b"theirs", Content_Type="text/plain")
    await page.click("text=Save")
    await page.wait_for_selector("del:has-text('theirs')")
    assert await violations(page) == []
    assert world.ask("/kv/config/theme") == b"theirs"
    await page.click("text=Write mine over it")
    await page.wait_for_selector("text=all 2 hold it")
    assert world.ask("/kv/config/theme") == b"mine"
    await page.locator("li", has_text="roll back").last.get_by_text("roll back").click()
    await page.wait_for_selector(".detail pre:has-text('dark')")
    assert world.ask("/kv/config/theme") == b"dark"
    await page.context.close()


async def test_what_is_merged_is_shown_as_what_it_is_and_edited_so(
    browser: Browser, world: World
) -> None:
    edits = {
        "hits": {"add": 9007199254740993},
        "tags": {"add": ["blue"]},
        "limits": {"set": {"rate": 10, "name": "x"}},
    }
    for key, edit in edits.items():
        world.ask(f"/kv/typed/{key}", "POST", json.dumps(edit).encode())
    for value in (b"tea", b"milk"):
        world.ask("/kv/typed/cart?type=siblings", "PUT", value, Content_Type="text/plain")
    page = await opened(browser, world, "#keys?in=typed%2F&key=typed%2Fhits")
    await page.locator("pre.number", has_text="9007199254740993").wait_for()
    assert await page.locator("text=roll back").count() == 0
    await page.fill("[name=number]", "-1")
    await page.click("button:has-text('Add')")
    await page.locator("pre.number", has_text="9007199254740992").wait_for()
    await page.click(".row:has-text('tags')")
    await page.fill("[name=element]", "red & green")
    await page.click("button:has-text('Add')")
    await page.locator(".elements li", has_text="red & green").wait_for()
    await page.click("[aria-label='Remove blue']")
    await page.locator(".elements li", has_text="blue").wait_for(state="detached")
    assert json.loads(world.ask("/kv/typed/tags")) == ["red & green"]
    await page.click(".row:has-text('limits')")
    await page.fill("[name=field]", "burst")
    await page.fill("[name=content]", "50")
    await page.click("button:has-text('Set')")
    await page.locator(".fields tr", has_text="burst").wait_for()
    await page.click("[aria-label='Unset name']")
    await page.locator(".fields tr", has_text="name").wait_for(state="detached")
    assert json.loads(world.ask("/kv/typed/limits")) == {"burst": 50, "rate": 10}
    assert await violations(page) == []
    await page.click(".row:has-text('cart')")
    await page.locator(".siblings li", has_text="milk").wait_for()
    assert await page.locator(".siblings li").count() == 2
    assert await violations(page) == []
    await page.locator(".siblings li", has_text="tea").get_by_text("Keep this one").click()
    await page.locator(".siblings").wait_for(state="detached")
    await page.locator("pre[aria-label=Value]", has_text="tea").wait_for()
    assert world.ask("/kv/typed/cart") == b"tea"
    await page.click("text=Edit")
    await page.fill("textarea", "tea, milk")
    await page.click("text=Save")
    await page.locator("pre[aria-label=Value]", has_text="tea, milk").wait_for()
    assert world.ask("/kv/typed/cart") == b"tea, milk"
    await page.get_by_role("button", name="Delete", exact=True).click()
    await page.click("text=Delete it on all nodes")
    await page.wait_for_selector("text=There is no such key now")
    await page.context.close()


async def test_the_lag_of_what_another_member_writes_is_in_the_table_and_in_the_plot(
    browser: Browser, world: World
) -> None:
    page = await opened(browser, world)
    column = await page.locator("th").all_text_contents()
    place = column.index("Lag") + 1
    there = world.agents[1].url + "/kv/from-n2"
    ask(there, "PUT", b"v", Authorization=f"Bearer {world.secret}")
    await page.wait_for_selector(f"tr:has-text('n2') td:nth-child({place}):has-text('ms')")
    await page.click("tr:has-text('n2') button")
    await page.wait_for_selector("dd:has-text('for 99 of 100')")
    await page.goto(f"{world.url}/ui/#convergence")
    await page.wait_for_selector(".plot h2:has-text('Lag')")
    await page.context.close()


async def test_a_member_that_is_killed_is_shown_as_dead_and_then_that_nobody_answers(
    browser: Browser, world: World
) -> None:
    page = await opened(browser, world)
    await page.wait_for_selector(SIGNS["cluster"])
    await asyncio.to_thread(world.agents[1].kill)
    await page.wait_for_selector("tr:has-text('n2'):has-text('dead')")
    await page.wait_for_selector(".find:has-text('n2')")
    await asyncio.to_thread(world.agents[0].kill)
    await page.wait_for_selector(".pill:has-text('no answer')")
    await page.context.close()
