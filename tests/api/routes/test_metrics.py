"""/metrics: parsed by Prometheus' own parser, named by its conventions, and true."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from kvgossip.api.http.request_metrics import LoopDelay, Requests
from kvgossip.protocol.model.histogram import Histogram
from tests.api.event_stream import TIMEOUT_S, served, stream
from tests.api.serving import Served

Families = dict[str, Metric]


def families(metrics: Iterable[Metric]) -> Families:
    found: Families = {}
    for family in metrics:
        assert family.name not in found, "a family is exported once"
        found[family.name] = family
    return found


async def scrape(server: Served, accept: str = "") -> Families:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{server.server.address}/metrics", headers={"Accept": accept}) as got,
    ):
        assert got.status == 200
        text = await got.text()
    openmetrics = got.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics == ("openmetrics" in accept)
    return families(parse_openmetrics(text) if openmetrics else parse(text))  # type: ignore[no-untyped-call]


def value(found: Families, name: str, /, **labels: str) -> float:
    """Of the sample of this name that has these labels."""
    values = [
        sample.value
        for family in found.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(values) == 1, (name, labels, values)
    return values[0]


async def test_what_is_scraped_is_what_happened() -> None:
    # the certificate of the key that is deleted is not to be collected meanwhile
    async with served(rumor_settling_s=60.0) as server, stream(server):
        for key in ("a", "b"):
            await server.node.put(key, b"1")
        await server.node.delete("b")
        async with aiohttp.ClientSession() as session:
            for path, status in (
                ("/kv?prefix=", 200),
                ("/members", 200),
                ("/members", 200),
                ("/nowhere", 404),
                ("/kv/a", 200),
                ("/kv/b", 404),
            ):
                async with session.get(f"http://{server.server.address}{path}") as got:
                    assert got.status == status
        found = await scrape(server)
        assert value(found, "kvgossip_node_info", name="n1", cluster="default") == 1
        assert value(found, "kvgossip_settled") == 1
        assert value(found, "kvgossip_ready") == 1
        assert value(found, "kvgossip_overloaded") == 0
        assert value(found, "kvgossip_quarantine_values") == 0
        assert value(found, "kvgossip_writes_total") == 3
        assert value(found, "kvgossip_members_unequal", pool="lan") == 0
        assert value(found, "kvgossip_unequal_seconds", pool="lan") == 0
        assert (value(found, "kvgossip_keys"), value(found, "kvgossip_entries")) == (1, 2)
        assert value(found, "kvgossip_members", pool="lan", state="alive") == 1
        assert value(found, "kvgossip_watchers", kind="stream") == 1
        assert value(found, "kvgossip_feed_changes") == 3
        assert value(found, "kvgossip_http_requests_total", family="members", code="200") == 2
        assert value(found, "kvgossip_http_requests_total", family="other", code="404") == 1
        assert value(found, "kvgossip_http_requests_total", family="kv", code="404") == 1
        assert value(found, "kvgossip_http_request_duration_seconds_count", family="members") == 2
        assert value(found, "kvgossip_http_request_duration_seconds_count", family="kv") == 2
        assert "kvgossip_commit_duration_seconds" not in found
        assert value(found, "process_open_fds") > 0


async def test_both_formats_say_the_same() -> None:
    async with served() as server:
        plain, openmetrics = (
            await scrape(server),
            await scrape(server, "application/openmetrics-text; version=1.0.0"),
        )
        assert plain.keys() == openmetrics.keys()


async def test_every_name_has_its_unit_last_and_every_family_a_text_and_a_type() -> None:
    async with served() as one, served(name="n2", join=(str(one.node.address),)) as two:
        await two.node.wait_settled(TIMEOUT_S)
        found = {**await scrape(one), **await scrape(two)}
        for name, family in found.items():
            if not name.startswith("kvgossip_"):
                continue
            assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
            assert family.documentation
            assert "bytes" not in name or name.endswith("_bytes")
            assert not re.search(r"_(ms|s|us)$", name)
        assert value(found, "kvgossip_exchanges_completed_total", pool="lan") > 0
        assert value(found, "kvgossip_member_events_total", pool="lan", state="alive") > 0


async def test_residue_and_refusals_are_counted_by_reason() -> None:
    async with (
        served(rumor_k=0) as one,
        served(name="n2", rumor_k=0, join=(str(one.node.address),)) as two,
    ):
        await two.node.wait_settled(TIMEOUT_S)
        for number in range(5):
            await one.node.put(f"k{number}", b"1")
        async with asyncio.timeout(TIMEOUT_S):
            while two.node.get("k4") is None:  # noqa: ASYNC110 - nobody sets an event
                await asyncio.sleep(0.05)
        transport = (
            await asyncio.get_running_loop().create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=two.node.address
            )
        )[0]
        transport.sendto(b"garbage")
        found = await scrape(two)
        async with asyncio.timeout(TIMEOUT_S):
            while "kvgossip_frames_dropped" not in found:
                found = await scrape(two)
        transport.close()
        assert value(found, "kvgossip_exchange_news_total", pool="lan") == 5
        assert value(found, "kvgossip_exchange_rounds_total", pool="lan") > 0
        dropped = {sample.labels["reason"] for sample in found["kvgossip_frames_dropped"].samples}
        assert dropped
        assert "" not in dropped


async def test_with_a_data_directory_the_time_of_every_commit_is_in_the_histogram(
    tmp_path: Path,
) -> None:
    async with served(data_dir=str(tmp_path)) as server:
        for number in range(3):
            await server.node.put(f"k{number}", b"1")
        found = await scrape(server)
        assert (
            value(found, "kvgossip_commit_duration_seconds_count")
            == value(found, "kvgossip_storage_commits_total")
            >= 3
        )
        assert value(found, "kvgossip_storage_degraded") == 0
        assert value(found, "kvgossip_storage_free_bytes") > 0
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"http://{server.server.address}/kv/a", data=b"1") as put,
        ):
            assert put.status == 200
        assert (
            value(await scrape(server), "kvgossip_http_requests_total", family="kv", code="200")
            == 1
        )


async def test_a_node_that_has_not_settled_tells_its_metrics_and_why_it_is_not_ready() -> None:
    async with served(join=("127.0.0.1:1",)) as server:
        found = await scrape(server)
        assert value(found, "kvgossip_settled") == value(found, "kvgossip_ready") == 0
        assert value(found, "kvgossip_not_ready", reason="not_settled") == 1


async def test_a_late_event_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvgossip.api.http.request_metrics.LOOK_S", 0.0)
    delay = LoopDelay()
    delay.start()
    async with asyncio.timeout(TIMEOUT_S):
        while not dict(delay.times.cumulative())[float("inf")]:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0)
    delay.stop()


def test_a_request_is_counted_by_family_and_status() -> None:
    requests = Requests()
    for status in (200, 200, 404):
        requests.observe("kv", status, 0.003)
    assert requests.counts == {("kv", "200"): 2, ("kv", "404"): 1}
    assert dict(requests.times["kv",].cumulative())[0.005] == 3


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_what_is_not_greater_than_each_bound(times_s: list[float]) -> None:
    histogram = Histogram((0.1, 1.0, 10.0))
    for seconds in times_s:
        histogram.observe(seconds)
    assert list(histogram.cumulative()) == [
        (bound, sum(seconds <= bound for seconds in times_s))
        for bound in (0.1, 1.0, 10.0, float("inf"))
    ]
    assert histogram.sum_s == pytest.approx(sum(times_s))
