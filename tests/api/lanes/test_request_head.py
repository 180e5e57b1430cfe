"""RequestParser: a head whose header lines are those of the head before is read as if nobody had
remembered them."""

from __future__ import annotations

import pytest

from kvgossip.api.lanes.request_head import RequestParser
from kvgossip.errors import RemoteError

LINES = (
    *(
        b"GET /kv/a HTTP/1.1",
        b"HEAD /kv/a HTTP/1.1",
        b"PUT /kv/%C3%A7 HTTP/1.1",
        b"PUT /kv/%zz HTTP/1.1",
        b"DELETE /kv/a/./b HTTP/1.1",
    ),
    *(
        b"GET /kv/a?at_least=1 HTTP/1.1",
        b"GET /kv/a#b HTTP/1.1",
        b"GET http://other/kv/a HTTP/1.1",
        b"GET //kv/a HTTP/1.1",
    ),
    *(
        b"GET * HTTP/1.1",
        b"POST /batch HTTP/1.1",
        b"GET /kv/a HTTP/1.0",
        b"GET /kv/a HTTP/1.11",
        b"GET /kv/a",
        b"get /kv/a HTTP/1.1",
        b"",
    ),
    *(
        b"GET  /kv/a HTTP/1.1",
        b"GET\t/kv/a HTTP/1.1",
        b"GET /kv/\xc3\xa7 HTTP/1.1",
        b"GET /kv/a\n HTTP/1.1",
        b"GET /kv/a HTTP/1.1\r",
    ),
    *(
        b"GET /kv/a HTTP/1.1\nX: y",
        b"GET /kv/a HTTP/1.1 ",
        b" GET /kv/a HTTP/1.1",
        b"GET /kv/a b HTTP/1.1",
        b"PATCH /kv/a HTTP/1.1",
    ),
)
HEADERS = (
    *(
        b"",
        b"Host: a\r\n",
        b"host: a\r\nContent-Length: 3\r\n",
        b"Host: a\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n",
    ),
    *(
        b"Host: a\r\nX: \r\n",
        b"Host: a\r\nHost: b\r\n",
        b"Content-Length: 0\r\nHost: a\r\n",
        b"Host: a\r\nConnection: keep-alive\r\n",
    ),
)


def read(parser: RequestParser, head: bytes) -> object:
    """All that is known of a head, or why it is none."""
    try:
        if not parser.read_head(head):
            return "empty lines"
    except RemoteError as error:
        return str(error)
    return parser.method, parser.target, parser.version, parser.headers, parser.found


def takes_all(host: bytes) -> bool:
    return True


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("line", LINES)
def test_repeated_header_lines_say_what_they_said_before(line: bytes, headers: bytes) -> None:
    parser, length = RequestParser(takes_all), 3 if b"Length: 3" in headers else 0
    for target in (b"/kv/before", b"/kv/again"):
        assert parser.read_head(b"PUT %s HTTP/1.1\r\n%s\r\n" % (target, headers))
        assert (parser.target, parser.repeated) == (target, target == b"/kv/again")
        for part in (b"a", b"bc") if length else ():
            parser.read_body(part)
        assert parser.take_body() == b"abc"[:length]
    head = b"%s\r\n%s\r\n" % (line, headers)
    assert read(parser, head) == read(RequestParser(takes_all), head)


def test_other_header_lines_are_parsed() -> None:
    parser = RequestParser(takes_all)
    for headers in (b"Host: a\r\n", b"Host: b\r\n", b"Host: b\r\nAccept: *\r\n"):
        assert parser.read_head(b"GET /kv/a HTTP/1.1\r\n%s\r\n" % headers)
        assert not parser.repeated
    assert parser.found == {b"host": b"b", b"accept": b"*"}
