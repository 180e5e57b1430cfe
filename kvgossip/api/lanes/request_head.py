"""RequestParser: one head at a time, read by httptools, and written anew for those who read it
after us.

A client sends the same header lines with each of its requests. If they are, byte for byte, those of
the head before, and the request line is one of those that can be read in one way only, the parser
is not asked again what they say: it is a third of what a GET costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from kvgossip.api.access.rights import Caller
from kvgossip.api.http.request_target import escape_target
from kvgossip.errors import RemoteError

HEAD_END = b"\r\n\r\n"
FIRST_BYTES = b"\r\nABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""A request starts with one of these. Other bytes, as of TLS, are refused at once, without waiting
for the end of a head that will never come."""
_PLAIN_LINE = re.compile(rb"(GET|HEAD|PUT|DELETE) (/kv/[A-Za-z0-9/%~._:@!$&'()*+,;=-]*) HTTP/1\.1")
"""The path of a key, without a query, in the characters that RFC 3986 gives a path."""
METHODS = (b"GET", b"PUT", b"DELETE", b"HEAD")
_UPGRADES = frozenset((b"connection", b"upgrade", b"http2-settings"))
HEADERS = frozenset(
    b"host connection content-length content-type if-match if-none-match authorization "
    b"x-consul-token user-agent accept "
    b"accept-encoding accept-language accept-charset "
    b"cache-control pragma referer dnt forwarded via x-forwarded-for x-forwarded-host "
    b"x-forwarded-proto x-real-ip x-request-id "
    b"traceparent tracestate baggage".split()
)
"""Those that the express lane obeys, and those that mean nothing to this API on either lane."""


class RequestParser:
    """Give it exact heads, each up to its empty line, and then its body by its length: all other
    bytes are refused.

    `method`, `target`, `version` and `headers` are those of the last head, as they were sent;
    `found` has the headers by their names in lower case. `repeated`: those header lines were the
    same as the last time, and the version, too. A Host that `takes_host` refuses is not served by
    the express lane.
    """

    __slots__ = (
        "_body",
        "_heads",
        "_host",
        "_in_body",
        "_length",
        "_lines",
        "_parser",
        "_takes_host",
        "caller",
        "express",
        "found",
        "headers",
        "is_last",
        "method",
        "repeated",
        "target",
        "version",
    )

    def __init__(self, takes_host: Callable[[bytes], bool]) -> None:
        self._takes_host = takes_host
        #: The last Host that was taken.
        self._host = b""
        #: False if nothing of this client's is for the express lane.
        self.express = True
        self._parser: HttpRequestParser = HttpRequestParser(self)
        self._body: list[bytes] = []
        self._in_body = False
        self._lines = b""
        #: The body's length by the last header lines.
        self._length: int | None = None
        #: True if by these its client wants no more answers on this connection.
        self.is_last = False
        #: Who has sent the last header lines, once somebody has found out; None: everybody may.
        self.caller: Caller | None = None
        self._clear()

    def _clear(self) -> None:
        self._heads = 0
        self._lines, self.repeated = b"", False
        self.method, self.target, self.version = b"", b"", ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.found: dict[bytes, bytes] = {}

    def read_head(self, data: bytes) -> bool:
        """False where these were but the empty lines that may stand before a request. Raises
        RemoteError for all but exactly one head."""
        line, _, lines = data.partition(b"\r\n")
        if lines == self._lines and (match := _PLAIN_LINE.fullmatch(line)) is not None:
            self.method, self.target = match.groups()
            self.repeated = True
            return True
        self._clear()
        if not data.isascii():
            data = escape_target(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            # by its headers the lane leaves it to aiohttp, which knows no other protocol either
            pass
        except HttpParserError as error:
            raise RemoteError("not_http", str(error)) from None
        if self._heads == 1:
            self.method, self.version = self._parser.get_method(), self._parser.get_http_version()
            self._lines = lines if self.version == "1.1" else b""
            return True
        if data.strip():
            raise RemoteError("not_http", "not one head")
        return False

    def plain_length(self, value_bytes_max: int) -> int | None:
        """The length of the body, where this is the head of a request that the express lane serves:
        one of METHODS, of one key, without a query and with no header but HEADERS. Else None."""
        if not self.repeated:
            self._length = self._length_in_lines() if self._is_of_one_key() else None
        length = self._length
        if length and length > (value_bytes_max if self.method == b"PUT" else 0):
            return None
        return length

    def _is_of_one_key(self) -> bool:
        """True if it is one of METHODS, of one key, without a query. A plain line is."""
        target = self.target
        return (
            self.method in METHODS
            and target.startswith(b"/kv/")
            and b"?" not in target
            and b"#" not in target
        )

    def _length_in_lines(self) -> int | None:
        """The length of the body, by the header lines; None: the express lane does not understand
        them."""
        found = self.found
        if (
            len(found) != len(self.headers)
            or not found.keys() <= HEADERS
            or self.version != "1.1"
            or b"host" not in found
        ):
            return None
        if not self.express or not self._passes(found[b"host"]):
            return None
        connection = found.get(b"connection", b"keep-alive").lower()
        if connection not in (b"close", b"keep-alive"):
            return None
        self.is_last = connection == b"close"
        return int(found.get(b"content-length", b"0"))

    def _passes(self, host: bytes) -> bool:
        if host != self._host:
            if not self._takes_host(host):
                return False
            self._host = host
        return True

    def read_body(self, part: bytes) -> None:
        """The next part of the body that the head has announced."""
        if self.repeated:
            # it has no head for this body: it is still where the last body ended
            self._body.append(part)
            return
        self._in_body = True
        self._parser.feed_data(part)
        self._in_body = False

    def take_body(self) -> bytes:
        """All that was read of it."""
        body = b"".join(self._body)
        self._body.clear()
        return body

    def rewritten(self) -> bytes:
        """The head as bytes that can be read in one way only. No other protocol is spoken here, so
        it asks for none: a parser that is asked may pass over the next request (RFC 9110 7.8)."""
        lines = [b"%s %s HTTP/%s" % (self.method, self.target, self.version.encode())]
        lines += [
            b"%s: %s" % header for header in self.headers if header[0].lower() not in _UPGRADES
        ]
        connection = [option for option in self._options() if option.lower() not in _UPGRADES]
        if connection:
            lines.append(b"Connection: " + b", ".join(connection))
        return b"\r\n".join([*lines, b"", b""])

    def _options(self) -> list[bytes]:
        """Those of all Connection headers."""
        values = (value for name, value in self.headers if name.lower() == b"connection")
        return [
            part for value in values for option in value.split(b",") if (part := option.strip())
        ]

    def close(self) -> None:
        """Break the circle between this object and the C parser."""
        del self._parser

    # -- called by httptools: a second head, or bytes of a body, among those of a head make it no
    # head

    def on_url(self, target: bytes) -> None:
        self._heads += bool(self.target)
        self.target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        self.found[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._heads += 1

    def on_body(self, part: bytes) -> None:
        if self._in_body:
            self._body.append(part)
        else:
            self._heads += 1


def text_of(found: Mapping[bytes, bytes], name: bytes) -> str | None:
    """The value of a header."""
    value = found.get(name)
    return None if value is None else value.decode("latin-1")
