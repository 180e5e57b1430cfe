"""/ui: the files of the console, a page that shows a node and its cluster (kvgossip/api/ui).

The files are open, since they say nothing of the cluster: the page asks the node for all that it
shows, with the token of whoever looks. It has the origin of the node, so it may do what its token
may. For that reason nothing in it can run but these files: the policy takes no inline script, no
text as markup, and nothing from elsewhere; and no other page may frame it.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from kvgossip.api.access.rights import Right
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Parameter, Route
from kvgossip.api.http.schema import OCTETS, TEXT

TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
"""The content types, by the ends of names."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEAD = (
    f"Content-Security-Policy: {POLICY}\r\nReferrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
)


class Page(NamedTuple):
    """A file of the console, as it is sent."""

    content_type: str
    content: bytes
    tag: str
    """Its ETag: a browser asks again whether it has changed, as it does after an upgrade."""


@cache
def pages() -> dict[str, Page]:
    """All files by their paths. They are read when somebody first looks."""
    return dict(_pages_in(files("kvgossip.api") / "ui", ""))


def _pages_in(folder: Traversable, path: str) -> list[tuple[str, Page]]:
    found = []
    for each in folder.iterdir():
        kind = TYPES.get(each.name.rpartition(".")[2])
        if each.is_dir():
            found += _pages_in(each, f"{path}{each.name}/")
        elif kind is not None:
            content = each.read_bytes()
            tag = f'"{blake2b(content, digest_size=8).hexdigest()}"'
            found.append((path + each.name, Page(kind, content, tag)))
    return found


class ConsoleRoutes(Family):
    """GET of /ui/."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def file(self, call: Call) -> Answer:
        if call.config.no_ui:
            raise RequestError(
                404, "this node serves no console", "start it without --no-ui, or ask another node"
            )
        if not call.key and not call.request.path.endswith("/"):
            # the page asks for its files by names that are relative to its folder
            return self._answers.octets(308, b"", "Location: ui/\r\n")
        page = pages().get(call.key or "index.html")
        if page is None:
            raise RequestError(404, "the console has no such file", "it begins at /ui/")
        head = f"{_HEAD}Content-Type: {page.content_type}\r\nETag: {page.tag}\r\n"
        if call.request.headers.get("If-None-Match") == page.tag:
            return self._answers.octets(304, None, head)
        return self._answers.octets(200, page.content, head)

    ROUTES = (
        Route(
            "GET",
            "/ui/{key}",
            file,
            Right.OPEN,
            "The console, a page for browsers: /ui/ is its begin.",
            OCTETS,
            (304, 308, 404),
            parameters=(Parameter("path", "key", TEXT, "a file of it"),),
            content_type="*/*",
            bare=(304, 308),
            key_optional=True,
        ),
    )
