"""Each example runs as it stands, under its real server, and sees what anybody writes."""

from __future__ import annotations

import asyncio
import json
import re
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.examples.running import EXAMPLES, alive, environment, get, run, served, shop, until_all
from tests.runtime.test_node import until, until_value


def test_the_list_of_examples_has_all_of_them() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\((\w+\.py)\)", text))
    assert named == {path.name for path in EXAMPLES.glob("*.py")}


async def test_fastapi_under_uvicorn_sees_what_anybody_writes_and_leaves_at_its_end() -> None:
    async with shop(theme="dark") as node:
        with environment(node) as env:
            async with served(env, "-m", "uvicorn", "fastapi_app:app", "--port", "0") as url:
                page = await get(url)
                assert (page["theme"], page["rate"]) == ("dark", 10)
                await node.put("shop/theme", "blue")
                await until_all(url, {"theme": "blue"})
                await asyncio.to_thread(put, f"{url}/limits/rate", 20)
                assert (await get(url))["rate"] == 20
                await until_value(node, "shop/limits/rate", b"20")
                with pytest.raises(HTTPError) as refused:
                    await asyncio.to_thread(put, f"{url}/limits/rate", "many")
                assert refused.value.code == 422
                assert "rate" in json.load(refused.value)["detail"]
        await until(lambda: alive(node) == 0)


async def test_flask_under_its_own_server_sees_what_anybody_writes() -> None:
    async with shop(theme="dark") as node:
        with environment(node) as env:
            command = ("-m", "flask", "--app", "flask_app", "run", "--port", "0")
            async with served(env, *command) as url:
                # nobody waits for the cache to settle: the first pages may have the defaults
                assert (await get(url))["theme"] in ("light", "dark")
                await until_all(url, {"theme": "dark", "rate": 10})
                await node.put("shop/theme", "blue")
                await node.put("shop/limits/rate", "20")
                await until_all(url, {"theme": "blue", "rate": 20})


async def test_the_check_of_django_joins_nothing_and_its_server_sees_what_anybody_writes() -> None:
    async with shop(theme="dark") as node:
        with environment(node) as env:
            assert "no issues" in await run(env, "django_app.py", "check")
            assert [member.name for member in node.members()] == ["agent"]
            command = ("django_app.py", "runserver", "--noreload", "127.0.0.1:0")
            async with served(env, *command) as url:
                await until_all(url, {"theme": "dark"})
                await node.put("shop/theme", "blue")
                await until_all(url, {"theme": "blue"})


async def test_threads_read_whole_objects_and_a_callback_hears_of_changes() -> None:
    async with shop() as node:
        with environment(node) as env:
            assert await run(env, "threads.py") == (
                "before: {Limits(rate=10, burst=20)}\n"
                "changed: {'limits/rate': 20}\n"
                "after: {Limits(rate=20, burst=20)}\n"
            )
        await until_value(node, "shop/limits/rate", b"20")


async def test_the_tests_of_the_example_pass_without_a_node() -> None:
    async with shop() as node:
        with environment(node) as env:
            command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null")
            output = await run(env, *command, "--rootdir", str(EXAMPLES), "test_shop.py")
        assert "4 passed" in output
        assert alive(node) == 0


def put(url: str, value: object) -> None:
    kind, body = {"Content-Type": "application/json"}, json.dumps(value).encode()
    with urlopen(Request(url, body, kind, method="PUT")) as answer:
        assert json.load(answer)["version"]
