"""RequestParser: a head whose header lines are those of the head before is read as if nobody had remembered them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvgossip.api.head import RequestParser
from kvgossip.errors import RemoteError

Read = tuple[bool, bytes, bytes, str, list[tuple[bytes, bytes]], dict[bytes, bytes]]

LINES = (
    *(b"GET /kv/a HTTP/1.1", b"HEAD /kv/a HTTP/1.1", b"PUT /kv/%C3%A7 HTTP/1.1", b"PUT /kv/%zz HTTP/1.1", b"DELETE /kv/a/./b HTTP/1.1"),
    *(
        b"GET /kv/a?at_least=1 HTTP/1.1",
        b"GET /kv/a#b HTTP/1.1",
        b"GET http://other/kv/a HTTP/1.1",
        b"GET //kv/a HTTP/1.1",
        b"GET * HTTP/1.1",
    ),
    *(b"GET /kv/a HTTP/1.0", b"GET /kv/a HTTP/1.11", b"GET /kv/a", b"get /kv/a HTTP/1.1", b"GET  /kv/a HTTP/1.1", b"GET\t/kv/a HTTP/1.1"),
    *(
        b"GET /kv/\xc3\xa7 HTTP/1.1",
        b"GET /kv/a\n HTTP/1.1",
        b"GET /kv/a HTTP/1.1\r",
        b"GET /kv/a HTTP/1.1\nX: y",
        b"",
        b"POST /batch HTTP/1.1",
    ),
)
HEADERS = (
    *(b"", b"Host: a\r\n", b"host: a\r\nContent-Length: 3\r\n", b"Host: a\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n"),
    *(
        b"Host: a\r\nConnection: close\r\n",
        b"Host: a\r\nX: \r\n",
        b"Host : a\r\n",
        b"Host: a\r\n b\r\n",
        b"Content-Length: 0\r\nHost: a\r\n",
    ),
)


def read(parser: RequestParser, head: bytes) -> Read | str:
    try:
        found = parser.read_head(head)
    except RemoteError as error:
        return str(error)
    if not found:
        return "empty lines"
    return found, parser.method, parser.target, parser.version, parser.headers, parser.found


@given(st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(HEADERS)), min_size=2, max_size=12), st.data())
def test_repeated_header_lines_say_what_they_said_before(heads: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    parser = RequestParser()
    for line, headers in heads:
        if data.draw(st.booleans(), "the same header lines again"):
            headers = heads[0][1]
        head = line + b"\r\n" + headers + b"\r\n"
        said = read(parser, head)
        assert said == read(RequestParser(), head)
        if isinstance(said, str):
            return
        if said[5].get(b"connection") == b"close" or said[3] != "1.1":
            # the C parser takes nothing after it, and the lane does not offer anything
            return
        length = int(said[5].get(b"content-length", b"0"))
        for part in (b"a", b"b" * (length - 1)) if length else ():
            parser.read_body(part)
        assert parser.take_body() == (b"a" + b"b" * (length - 1) if length else b"")


def test_the_parser_is_asked_once_for_the_lines_that_a_client_repeats() -> None:
    parser, lines = RequestParser(), b"Host: a\r\nUser-Agent: b\r\n\r\n"
    assert parser.read_head(b"GET /kv/a HTTP/1.1\r\n" + lines)
    assert not parser.repeated
    assert parser.read_head(b"GET /kv/b HTTP/1.1\r\n" + lines)
    assert parser.repeated
    assert (parser.method, parser.target, parser.found) == (b"GET", b"/kv/b", {b"host": b"a", b"user-agent": b"b"})
    assert parser.read_head(b"GET /kv/b HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not parser.repeated
