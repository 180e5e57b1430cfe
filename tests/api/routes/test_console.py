"""The files of the console: what a browser needs to run them, and nothing that would run others."""

from __future__ import annotations

import re

import pytest

from kvgossip.api.routes.console import pages
from tests.api.serving import Serve, Served

LINES_MAX = 400
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|<style|style="
)
ELSEWHERE = re.compile(r"https?://(?!www\.w3\.org/)")


async def test_every_file_of_the_console_has_its_type_its_policy_and_a_tag(served: Served) -> None:
    assert {"index.html", "console.js", "console.css", "icon.svg", "pages/keys.js"} <= set(pages())
    for name, page in pages().items():
        answer = await served.call("GET", f"/ui/{name}")
        assert (answer.status, answer.body) == (200, page.content), name
        assert answer.headers["content-type"] == page.content_type
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert "unsafe" not in answer.headers["content-security-policy"]
        again = await served.call("GET", f"/ui/{name}", if_none_match=answer.headers["etag"])
        assert (again.status, again.body) == (304, b"")


async def test_the_console_begins_at_its_folder(served: Served) -> None:
    assert (await served.call("GET", "/ui/")).body == pages()["index.html"].content
    answer = await served.call("GET", "/ui")
    assert (answer.status, answer.headers["location"]) == (308, "ui/")


@pytest.mark.parametrize("name", ["x.js", "../keys.py", "%2e%2e/keys.py", "pages", "index.html/"])
async def test_what_is_no_file_of_the_console_is_not_there(name: str, served: Served) -> None:
    assert (await served.call("GET", f"/ui/{name}")).status == 404


async def test_a_node_may_serve_no_console(serve: Serve) -> None:
    served = await serve(no_ui=True)
    answer = await served.call("GET", "/ui/")
    assert answer.status == 404
    assert answer.json["hint"] == "start it without --no-ui, or ask another node"


@pytest.mark.parametrize("name", pages())
def test_a_file_of_the_console_is_short_reads_no_markup_and_has_nothing_from_elsewhere(
    name: str,
) -> None:
    text = pages()[name].content.decode()
    assert len(text.splitlines()) <= LINES_MAX
    assert ELSEWHERE.findall(text) == []
    assert MARKUP.findall(text) == []
