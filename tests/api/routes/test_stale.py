"""A node that has but the data of its disk answers with that, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.serving import NOBODY, Serve
from tests.runtime.test_node import FAST, until

SETTINGS: dict[str, Any] = {
    name: value for name, value in FAST.items() if name not in ("gossip", "founding_s")
}


async def test_a_node_that_looked_for_its_cluster_in_vain_is_ready_and_stale(
    serve: Serve, tmp_path: Path
) -> None:
    folder = str(tmp_path)
    one = await serve("n1", data_dir=folder, join=(NOBODY,), **SETTINGS)
    await one.node.put("a", b"1")
    one.node.settle()
    await one.node.stop(leave=False)

    slow = {**SETTINGS, "probe_interval_s": 600.0}
    back = await serve("n1", data_dir=folder, join=(NOBODY,), **slow)
    here = await back.call("GET", "/kv/a")
    assert (here.status, here.body, here.headers["kv-stale"]) == (200, b"1", "true")
    assert int(here.headers["kv-synced-age"]) >= 0
    assert (await back.call("GET", "/kv/b")).status == 503
    assert (await back.call("DELETE", "/kv/b")).status == 503
    assert (await back.call("GET", "/readyz")).status == 503
    assert [entry["key"] for entry in (await back.call("GET", "/kv")).json["entries"]] == ["a"]
    for target in ("/kv/a?stale=false", "/kv?stale=false"):
        assert (await back.call("GET", target)).status == 503
    assert (await back.call("GET", "/kv/a?stale=true")).status == 200
    assert (await back.call("GET", "/kv/a?stale=maybe")).status == 400
    await back.node.stop(leave=False)

    alone = await serve("n1", data_dir=folder, join=(NOBODY,), **SETTINGS)
    await until(lambda: not alone.node.not_ready)
    lacking = await alone.call("GET", "/kv/b")
    assert (lacking.status, lacking.headers["kv-stale"]) == (404, "true")
    assert (await alone.call("GET", "/readyz")).json == {"settled": False}
    alone.node.settle()
    settled = await alone.call("GET", "/kv/b")
    assert settled.status == 404
    assert "kv-stale" not in settled.headers
    assert (await alone.call("GET", "/kv/a?stale=false")).body == b"1"
