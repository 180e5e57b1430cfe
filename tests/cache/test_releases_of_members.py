"""Releases on real caches that are members: whole, checked by models, tried on some, and back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.releases.target import member
from kvgossip.runtime.node import Node
from tests.cache.sources import TIMEOUT_S
from tests.cache.test_config_cache import Limits
from tests.cache.test_member import cache, in_thread
from tests.runtime.test_node import configured, until


async def test_a_release_is_whole_on_every_cache_and_a_bad_one_is_refused_and_taken_back() -> None:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(Node(configured("n1")))
        await node.put("shop/loose", "1")
        caches: list[ConfigCache] = []
        for number in range(3):
            config = await stack.enter_async_context(cache(f"web{number}", node))
            if number:
                # who writes has no model: what his own refuses is not even written
                config.bind(Limits, "limits/")
            caches.append(config)
            await config.settled(TIMEOUT_S)
        one = caches[0]
        source = one._opening.for_writing()
        async with asyncio.timeout(TIMEOUT_S):
            # who has not heard of a member yet asks it nothing
            while len((await asyncio.wrap_future(source.survey("shop/", 1.0))).answers) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        values = {"limits/rate": 20, "theme": "dark", "logo": b"\xff"}
        release = await in_thread(lambda: one.release(values, name="r1"))
        outcome = await in_thread(release.wait, 20.0)
        assert outcome.applied == ["web0", "web1", "web2"], outcome
        assert (outcome.refused, outcome.silent) == ([], [])
        for config in caches:
            assert dict(config.snapshot()) == values
            assert (config.status().release, config.status().ignored) == ("r1", ("loose",))
        bad = {**values, "limits/rate": "many"}
        canary = await in_thread(
            lambda: one.release(bad, name="r2", to=member("web1") | member("web2"))
        )
        assert canary.hits == ("web1", "web2")
        outcome = await in_thread(canary.wait, 20.0)
        assert [(name, key) for name, key, _ in outcome.refused] == [
            ("web1", "limits/rate"),
            ("web2", "limits/rate"),
        ], outcome
        assert {config.status().release for config in caches} == {"r1"}
        assert (await in_thread(canary.rollback)).name == "r1"
        good = await in_thread(lambda: one.release({"theme": "x"}, name="r3", to=member("web2")))
        assert (await in_thread(good.wait, 20.0)).applied == ["web2"]
        assert [dict(config.snapshot()).get("theme") for config in caches] == ["dark", "dark", "x"]
        assert (await in_thread(good.promote)).name == "r3"
        await until(lambda: {config.status().release for config in caches} == {"r3"})
        await in_thread(one.rollback)
        await until(lambda: {config.status().release for config in caches} == {"r1"})
