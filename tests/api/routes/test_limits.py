"""The limits of what one node takes in, over HTTP."""

from __future__ import annotations

import asyncio

from kvgossip.api.archive import Writer
from kvgossip.api.routes.backup import PARSED_A_TURN
from tests.api.serving import Serve
from tests.protocol.net import record


def lines_of(*entries: tuple[str, bytes]) -> bytes:
    """As `kvgossip import` sends them: without the head and the end of an archive."""
    return Writer().lines(list(entries))


async def test_a_long_import_lets_other_clients_have_their_turns(serve: Serve) -> None:
    served = await serve()
    count = 3 * PARSED_A_TURN
    lines = lines_of(*((f"k{number}", record(b"v", ms=number)) for number in range(count)))
    imported = asyncio.create_task(served.call("POST", "/import", lines))
    turns = 0
    while not imported.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await imported).json["outcomes"] == {"news": count}
    # at least one for each portion that is read, and one for each that is merged
    assert turns > 2 * 3


async def test_a_full_store_answers_507_and_says_what_to_do(serve: Serve) -> None:
    served = await serve(store_bytes_max=1000)
    assert (await served.call("PUT", "/kv/a", b"v" * 900)).status == 200
    for method, target, body in (
        ("PUT", "/kv/b", b"v" * 200),
        ("POST", "/batch", b'{"operations": [{"put": "b", "value": "%s"}]}' % (b"v" * 200)),
        ("POST", "/import", lines_of(("b", record(b"v" * 200, ms=1)))),
    ):
        refused = await served.call(method, target, body)
        assert refused.status == 507, target
        assert "store_bytes_max is 1000" in refused.json["error"]
        assert "delete what is not needed" in refused.json["hint"]
    assert (await served.call("GET", "/kv/b")).status == 404
    assert (await served.call("DELETE", "/kv/a")).status == 200
    assert (await served.call("PUT", "/kv/b", b"v" * 200)).status == 200
