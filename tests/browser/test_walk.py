"""The walk of docs/console.md, "A key that differs", by somebody without a terminal: from the member
that differs to the keys, to why they do, and to the same data everywhere; and a conflict of a key.

Two nodes that exchange only when they are asked to. What differs was written on either side, and
its rumor was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from kvgossip.protocol.model.entry import Version, make_record
from tests.api.event_stream import TIMEOUT_S
from tests.api.routes.test_conflicts import KEPT, LOST, offer
from tests.api.routes.test_differences import APART, write_unheard
from tests.api.routes.test_overview import cluster_of
from tests.api.serving import Served, serving
from tests.browser.chromium import browsing
from tests.browser.test_console import PATIENCE_MS, SHOTS, violations

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.outside, pytest.mark.asyncio]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with browsing() as browser:
        yield browser


@pytest.fixture
async def servers() -> AsyncIterator[list[Served]]:
    async with serving() as serve:
        yield await cluster_of(serve, "n1", "n2", **APART)


async def opened(browser: Browser, server: Served, place: str = "", **options: Any) -> Page:
    page = await (await browser.new_context(**options)).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: pytest.fail(f"an error in the page: {error}"))
    host, port = server.server.address
    await page.goto(f"http://{host}:{port}/ui/{place}")
    return page


async def same(one: Served, other: Served) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while one.node.root != other.node.root:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.02)


async def test_a_newcomer_sees_which_key_differs_on_which_member_and_mends_it_without_a_terminal(
    browser: Browser, servers: list[Served]
) -> None:
    one, two = servers
    await one.node.put("config/theme", b"light", content_type="text/plain")
    await same(one, two)
    write_unheard(one.node, "config/theme", b"dark")
    write_unheard(two.node, "config/limits", b'{"rate": 20}')
    driver = two.node._running
    ahead = Version((driver.clocks().wall_ms + 3_600_000) << 16, 1 << 60)
    driver.replica.store.merge("clock", make_record(ahead, b"of an hour from now"))

    # 1. Cluster says who differs, and leads to the keys
    page = await opened(browser, one, viewport={"width": 1400, "height": 900})
    await page.click("tr:has-text('n2'):has-text('3 keys differ') button")
    await page.click("text=Show which keys differ")
    # 2. each key: what both have, and why it stays so
    panel = page.locator("section[aria-label='Keys that differ from n2']")
    row = panel.locator("tr", has_text="config/theme")
    await row.locator("td:nth-child(2)", has_text="newer").wait_for()
    await (
        panel.locator("tr", has_text="config/limits")
        .locator("td:nth-child(3)", has_text="newer")
        .wait_for()
    )
    await panel.locator("tr", has_text="ahead of this node's clock").wait_for()
    await row.get_by_text("Compare").click()
    await panel.locator("del", has_text="light").wait_for()
    await panel.locator("ins", has_text="dark").wait_for()
    SHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SHOTS / "differences-1400-light.png", full_page=True)
    assert await violations(page) == []
    # 3. take what the other one has of a key
    await row.get_by_text("Take n2’s").click()
    await panel.get_by_text("all 2 hold it").wait_for()
    assert (one.node["config/theme"], two.node["config/theme"]) == (b"light", b"light")
    # 4. exchange: what can be repaired is
    await panel.get_by_text("Exchange now").click()
    await panel.get_by_text("1 entry differed").wait_for()
    assert one.node["config/limits"] == b'{"rate": 20}'
    await row.wait_for(state="detached")
    await panel.locator("h2", has_text="1 key differs").wait_for()
    # 5. what a wrong clock has written: neither side's version can win, until the clock is right
    await page.set_viewport_size({"width": 400, "height": 900})
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    await page.screenshot(path=SHOTS / "differences-400-light.png", full_page=True)
    await page.context.close()


async def test_a_conflict_of_a_key_is_marked_there_and_the_other_value_is_restored(
    browser: Browser, servers: list[Served]
) -> None:
    one, _ = servers
    offer(one.node, "cart/7", LOST)
    offer(one.node, "cart/7", KEPT)
    page = await opened(browser, one, "#keys?key=cart%2F7")
    mark = page.locator(".conflict", has_text="did not know of each other")
    await mark.wait_for()
    await page.locator(".history li", has_text="lost unseen").wait_for()
    await mark.get_by_text("Compare").click()
    await page.locator("del", has_text="lost").wait_for()
    assert await violations(page) == []
    await page.screenshot(path=SHOTS / "conflict-1280-light.png", full_page=True)
    await mark.get_by_text("Restore the other").click()
    await page.locator("pre[aria-label=Value]", has_text="lost").wait_for()
    await mark.wait_for(state="detached")
    assert one.node["cart/7"] == b"lost"
    await page.context.close()
