"""Requests as bytes: those that both lanes can serve, odd ones for any route, and bytes that are
hardly requests at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple
from urllib.parse import quote

from benchmarks.fuzzing.units import mutated
from kvgossip.api.server import FAMILIES

KEYS = (
    "a", "b/c", "%C3%A7", "\u00e7", "..", "", "/x", "a%2Fb", "100%", "%", "%zz", "%00", "a%0D%0Ab",
    "x" * 1024, "x" * 1025, "app/a", "app/b", "secret/a", "a//b", "a/../b", "a;b=c", "~:@!$&'()*,",
    "%F0%9F%90%8D", "%C3", "%ed%a0%80", "a%20b", "a+b", "*",
)  # fmt: skip
METHODS = ("GET",) * 6 + ("PUT",) * 6 + ("HEAD", "DELETE", "DELETE", "POST", "PATCH", "OPTIONS")
ODD_METHODS = ("get", "TRACE", "PROPFIND", "G" * 300, "PUTS", "GE T", "M-SEARCH", "QUERY", "")
TAGS = ("*", "CURRENT", "CURRENT", "W/CURRENT", '"other"', '"other", CURRENT', "bare", '"', "",
        "*, *", '"a" "b"', "CURRENT" * 40)  # fmt: skip
QUERIES = ("",) * 8 + ("?", "?x=1", "#f", "?ttl=1h", "?ttl=0", "?ttl=x", "?wait=1", "?wait=all",
           "?stale", "?at_least=x", "?wait=majority&timeout=0", "?&&", "?%00=1", "?resolve=lww",
           "?type=siblings", "?type=map")  # fmt: skip
HEADERS = (
    ("Content-Type", "text/plain"), ("Content-Type", ""), ("content-type", "\u00e9"),
    ("Content-Type", "x" * 300), ("Accept", "*/*"), ("User-Agent", ""), ("Connection", "close"),
    ("Connection", "Keep-Alive"), ("Connection", "TE, close"), ("Content-Encoding", "gzip"),
    ("Content-Range", "bytes 0-0/1"), ("If-Unmodified-Since", "now"), ("Range", "bytes=0-0"),
    ("TE", "trailers"), ("X-Any", "thing"), ("Host", "twice"), ("KV-TTL", "1h"), ("KV-TTL", "-1"),
    ("KV-Context", "x"), ("KV-After", "01a22b155e350000-bc5e25d31a499446"),
    ("Authorization", "Basic x"), ("X-Consul-Token", ""), ("Cookie", "a=b"),
    ("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site"),
    ("X-Forwarded-For", "10.0.0.1"), ("Expect", "nothing"), ("Accept-Encoding", "gzip, br"),
)  # fmt: skip
BODIES = (
    None,
    None,
    b"",
    b"1",
    b"\x00\xff\r\n\r\n",
    b"x" * 2000,
    b"x" * 2001,
    b"GET / HTTP/1.1\r\n\r\n",
)
OTHER_LANE = "X-Other-Lane: 1"
"""The express lane does not know it, and hands over; nobody else looks at it."""
VALUES = (
    "", "0", "-1", "1", "1", "9" * 30, "1e9", "nan", "true", "false", "a", "\u00e9", "%00", "%zz",
    "../", "x" * 3000, "0.001s", "1ms", "all", "app/", "app/a", "secret/", "bytes", "text",
    "base64", "0x10", "01a22b155e350000-bc5e25d31a499446", "CURRENT", "1,2", "[]", "\"", "'", "n1",
)  # fmt: skip
PIPELINE = (1, 1, 2, 4, 8, 16)
"""How many requests are sent at once."""
WAITING = {"index": "0", "wait": "1ms", "timeout": "0", "at_least": "0"}
"""What would let an answer wait for something that never comes."""
NOT_TRIED = ("/watch", "/events", "/leave", "/join", "/doctor")
"""A stream does not end; the others end the node, or let it ask others that are not there."""
JSON = (
    b"{}", b"[]", b"null", b"", b"{", b'{"operations": []}', b"[" * 5000, b'{"a":' * 2000,
    b'{"operations": [{"put": "app/a", "value": "1"}]}', b'{"add": 1}', b'{"add": ["x"]}',
    b'{"set": {"f": 1}}', b'{"add": ["x"], "field": "f"}', b'{"add": 1' + b"0" * 99 + b"}",
    b'{"operations": [{"put": "a", "value": "1"}, {"delete": "b"}, {"get": "a"}]}',
    b'{"operations": [{"put": "a", "base64": "!"}]}', b'{"operations": [{"get": "a"}], "x": NaN}',
    b'{"operations": [{"put": "a", "value": "1", "if_version": "x"}]}', b'\xff\xfe{}', b"1e999",
    b'{"target": "n9"}', b'{"name": "n9"}', b'{"key": "\\ud800"}', b'{"target": "127.0.0.1:1"}',
    b'{"action": "list"}', b'{"operations": ' + b"9" * 4000 + b"}",
)  # fmt: skip
ROUTES = [route for family in FAMILIES for route in family.ROUTES if route.path not in NOT_TRIED]


class Request(NamedTuple):
    """A whole request: its method, and its bytes by either lane.

    `is_alone`: nothing is sent with it: what aiohttp's parser refuses, it refuses together with all
    that came in one piece; and a target that is no ASCII, as curl sends one, is understood at the
    beginning of a piece alone. `is_last`: nothing may follow it, as that parser has it.
    """

    method: str
    express: bytes
    general: bytes
    is_alone: bool
    is_last: bool


class Maker:
    """Makes requests. `secrets`: tokens that some of them carry, none where the node has no
    tokens. `tags`: the last version of each key, as an answer has told it."""

    def __init__(self, rng: Random, secrets: Sequence[str]) -> None:
        self._rng, self._secrets = rng, secrets
        self.tags: dict[str, str] = {}
        self._last = b"GET /kv/a HTTP/1.1\r\nHost: n\r\n\r\n"

    def plain(self) -> Request:
        """A request for one key, well formed, which both lanes answer alike."""
        rng = self._rng
        key = rng.choice(KEYS[:4]) if rng.random() < 0.6 else rng.choice(KEYS)
        headers = [self._header(key) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]
        target = f"/kv/{key}{rng.choice(QUERIES)}"
        version = "1.0" if rng.random() < 0.03 else "1.1"
        return self._request(rng.choice(METHODS), target, headers, rng.choice(BODIES), version)

    def pipeline(self, make: Callable[[], Request]) -> list[Request]:
        """Some requests that are made so, to be sent without waiting for answers."""
        asked: list[Request] = []
        for _ in range(self._rng.choice(PIPELINE)):
            request = make()
            if request.is_alone:
                return asked or [request]
            asked.append(request)
            if request.is_last:
                break
        return asked

    def odd(self) -> Request:
        """A request for any route, with any parameters."""
        rng = self._rng
        route = rng.choice(ROUTES)
        if route.path == "/export" and rng.random() < 0.95:
            # it takes long
            route = rng.choice(ROUTES)
        names = [each.name for each in route.parameters if each.place == "query"]
        query = [
            f"{name}={WAITING.get(name, rng.choice(VALUES))}"
            for name in rng.choices([*names, "x"], k=rng.choice((0, 1, 1, 2, 4)))
        ]
        path = route.path.replace("{key}", rng.choice(KEYS))
        target = path + ("?" + "&".join(query) if query else "")
        headers = [self._header("a") for _ in range(rng.choice((0, 0, 1, 2)))]
        body = None if route.method == "GET" and rng.random() < 0.9 else rng.choice(JSON)
        return self._request(route.method, target, headers, body, "1.1")

    def _header(self, key: str) -> tuple[str, str]:
        rng = self._rng
        draw = rng.random()
        if draw < 0.3:
            tag = rng.choice(TAGS).replace("CURRENT", self.tags.get(key, '"none"'))
            return rng.choice(("If-Match", "If-None-Match")), tag
        if draw < 0.5 and self._secrets:
            secret = rng.choice(self._secrets)
            return rng.choice((("Authorization", f"Bearer {secret}"), ("X-Consul-Token", secret)))
        return rng.choice(HEADERS)

    def _request(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        version: str,
    ) -> Request:
        lines = [f"{method} {target} HTTP/{version}", "Host: n"]
        lines += [f"{name}: {value}" for name, value in headers]
        if self._secrets and self._rng.random() < 0.8:
            lines.append(f"Authorization: Bearer {self._rng.choice(self._secrets)}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        # a path is sent as curl sends it: what is not ASCII as it is
        express, general = (
            "\r\n".join([*lines, *more, "", ""]).encode() + (body or b"")
            for more in ((), (OTHER_LANE,))
        )
        self._last = express
        is_last = version == "1.0" or any("close" in value.lower() for _, value in headers)
        names = [line.partition(":")[0].lower() for line in lines]
        is_alone = not "".join(lines).isascii() or len(set(names)) < len(names)
        return Request(method, express, general, is_alone, is_last)

    # -- what is hardly a request -----------------------------------------------------------------

    def hostile(self) -> bytes:
        """Bytes for a connection of their own."""
        rng = self._rng
        draw = rng.randrange(8)
        good = b"".join(
            (self.plain() if rng.random() < 0.7 else self.odd()).express
            for _ in range(rng.randrange(1, 4))
        )
        if draw < 3:
            for _ in range(rng.randrange(1, 4)):
                good = mutated(good, self._last, rng) or b"\r\n"
            return good
        if draw == 3:
            return self._chunked() + good
        if draw == 4:
            return self._framed() + good
        if draw == 5:
            return self._large()
        if draw == 6:
            return self._line() + good
        return self._lines(good)

    def _chunked(self) -> bytes:
        """A body in chunks, of which some are none."""
        rng = self._rng
        sizes = (
            b"1",
            b"0",
            b"5",
            b"05",
            b"zz",
            b"-1",
            b"f" * 17,
            b"1;a=b",
            b" 1",
            b"0x1",
            b"",
            b"1\n",
        )
        chunks = [
            rng.choice(sizes)
            + b"\r\n"
            + b"x" * rng.choice((0, 1, 1, 5))
            + rng.choice((b"\r\n", b"\r\n", b"", b"\n"))
            for _ in range(rng.randrange(4))
        ]
        end = rng.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: 1\r\n\r\n", b"0", b""))
        coding = rng.choice(("chunked", "chunked", "Chunked", "gzip, chunked", "chunked, chunked",
                             "xchunked", "identity", "chunked\r\nContent-Length: 3"))  # fmt: skip
        name = rng.choice(("Transfer-Encoding", "Transfer-Encoding", "Transfer-Encoding "))
        method, target = rng.choice((("PUT", "/kv/a"), ("POST", "/batch"), ("POST", "/import"),
                                     ("GET", "/kv/a"), ("PUT", "/v1/kv/a")))  # fmt: skip
        head = f"{method} {target} HTTP/1.1\r\nHost: n\r\n{name}: {coding}\r\n\r\n"
        return head.encode() + b"".join(chunks) + end

    def _framed(self) -> bytes:
        """A body whose length is not clear."""
        rng = self._rng
        length = rng.choice(("+1", "-1", "1, 1", "1\r\nContent-Length: 1", "9" * 30, "0x1", " 1",
                             "1 ", "", "1\r\nContent-Length: 2", "4", "1_0", "\u0661"))  # fmt: skip
        expects = rng.choice(("", "", "Expect: 100-continue\r\n"))
        head = f"PUT /kv/a HTTP/1.1\r\nHost: n\r\n{expects}Content-Length: {length}\r\n\r\n"
        return head.encode() + b"x" * rng.choice((0, 1, 4))

    def _large(self) -> bytes:
        """More of something than there should be."""
        rng = self._rng
        size = rng.choice((4000, 16_000, 16_384, 17_000, 100_000))
        return rng.choice((
            b"GET /kv/" + b"x" * size + b" HTTP/1.1\r\nHost: n\r\n\r\n",
            b"GET /kv/a HTTP/1.1\r\nHost: n\r\nX: " + b"x" * size + b"\r\n\r\n",
            b"GET /kv/a HTTP/1.1\r\nHost: n\r\n" + b"X: 1\r\n" * (size // 6) + b"\r\n",
            b"GET /kv?prefix=" + b"%61" * (size // 3) + b" HTTP/1.1\r\nHost: n\r\n\r\n",
            b"\r\n" * (size // 2) + b"GET /kv/a HTTP/1.1\r\nHost: n\r\n\r\n",
            b"A" * size,
            b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size,
            b"GET /kv/a HTTP/1.1\r\nHost: n\r\n\r\n" * (size // 40),
        ))  # fmt: skip

    def _line(self) -> bytes:
        """A request line that is none, or hardly one."""
        rng = self._rng
        target = rng.choice(("*", "//", "/kv/%", "http://n/kv/a", "http://evil/kv/a", "/./kv/a", "",
                             "/%6bv/a", "/kv/a?token=" + "x" * 90, "?", "#", "/kv\\a", "n:80",
                             quote("\u00e9"), "/v1/kv/a?raw&raw", "/kv/a b"))  # fmt: skip
        version = rng.choice(("HTTP/1.1", "HTTP/1.1", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/11",
                              "http/1.1", "", "HTTP/1.1 x", "HTTP/9.9"))  # fmt: skip
        method = rng.choice((*ODD_METHODS, "GET", "GET", "CONNECT", "PRI"))
        host = rng.choice(
            ("Host: n\r\n", "", "Host: a\r\nHost: b\r\n", "Host: \u00e9\r\n", "Host: n:x\r\n")
        )
        more = rng.choice(("", "Upgrade: h2c\r\nConnection: upgrade\r\n", "Connection: x\r\n"))
        return f"{method} {target} {version}\r\n{host}{more}\r\n".encode()

    def _lines(self, good: bytes) -> bytes:
        """The same requests with other ends of lines, and other characters between them."""
        rng = self._rng
        old, new = rng.choice((
            (b"\r\n", b"\n"), (b"\r\n", b"\r"), (b"\r\n", b"\r\r\n"), (b": ", b":"),
            (b": ", b" : "),
            (b": ", b":\t"), (b"\r\nHost", b"\r\n Host"), (b" HTTP", b"\tHTTP"), (b": ", b":\0"),
            (b"Host", b"H\x7fst"), (b": ", b":\r\n "), (b"\r\n\r\n", b"\r\n\r\n\r\n"), (b": ", b""),
        ))  # fmt: skip
        return good.replace(old, new, rng.choice((1, 2, -1)))
