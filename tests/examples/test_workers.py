"""Examples of several processes: each of them sees what anybody writes, and all are one member."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import serving
from tests.examples.running import alive, environment, run, served, shop, until_all
from tests.runtime.test_node import TIMEOUT_S, until

WORKERS = 4
GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers", str(WORKERS))
UVICORN = ("-m", "uvicorn", "--port", "0", "--workers", str(WORKERS))
CELERY = ("-m", "celery", "--app", "celery_app", "worker", "--loglevel", "INFO")
READY = re.compile(r"celery@\S+ ready")
ASK = """
import json
from celery import group
from celery_app import quote
print(json.dumps(group(quote.s(3) for _ in range(20)).delay().get(timeout=60)))
"""


@pytest.mark.parametrize(
    "command",
    [
        (*GUNICORN, "--preload", "flask_app:app"),
        (*GUNICORN, "flask_app:app"),
        (*GUNICORN, "--preload", "django_app:application"),
        (*UVICORN, "fastapi_app:app"),
    ],
    ids=["flask, gunicorn --preload", "flask, gunicorn", "django, gunicorn --preload", "fastapi"],
)
async def test_all_workers_see_what_anybody_writes_and_are_one_member(
    command: tuple[str, ...],
) -> None:
    async with shop(theme="dark") as node:
        with environment(node) as env:
            async with served(env, *command) as url:
                await until_all(url, {"theme": "dark"}, WORKERS)
                await node.put("shop/theme", "blue")
                await until_all(url, {"theme": "blue"}, WORKERS)
                assert alive(node) == 1
        await until(lambda: alive(node) == 0)


async def test_new_workers_of_a_reload_are_the_same_member(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with shop(theme="dark") as node:
        with environment(node) as env:
            command = (*GUNICORN, "--preload", "--pid", str(file), "flask_app:app")
            async with served(env, *command) as url:
                before = await until_all(url, {"theme": "dark"}, WORKERS)
                os.kill(int(file.read_text()), signal.SIGHUP)
                await node.put("shop/theme", "blue")
                async with asyncio.timeout(2 * TIMEOUT_S):
                    while await until_all(url, {"theme": "blue"}, WORKERS) & before:
                        pass
                assert len({member.name for member in node.members()}) == 2
                await until(lambda: alive(node) == 1)


async def test_tasks_of_celery_see_what_anybody_writes(tmp_path: Path) -> None:
    async with shop(theme="dark") as node:
        with environment(node) as env:
            env["SHOP_BROKER_DIR"] = str(tmp_path)
            command = (*CELERY, "--concurrency", str(WORKERS))
            async with redis(env["XDG_RUNTIME_DIR"]) as url:
                env |= {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
                async with served(env, *command, says=READY):
                    await until_tasks(env, {"theme": "dark", "price": 30})
                    await node.put("shop/theme", "blue")
                    await node.put("shop/limits/rate", "20")
                    await until_tasks(env, {"theme": "blue", "price": 60})
                    assert alive(node) == 1


@asynccontextmanager
async def redis(folder: str) -> AsyncIterator[str]:
    """The URL of a Redis of its own, as a broker: that of files, which the example has so that it
    needs no other server, now and then reads a message of which half is written."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    pytest.importorskip("redis", reason="Celery speaks with Redis by the package redis")
    path = f"{folder}/redis.sock"
    options = ("--port", "0", "--unixsocket", path, "--save", "", "--dir", folder)
    process = await asyncio.create_subprocess_exec("redis-server", *options, stdout=DEVNULL)

    def listens() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(path) == 0

    try:
        await until(listens)
        yield f"redis+socket://{path}"
    finally:
        process.terminate()
        await process.wait()


async def until_tasks(env: dict[str, str], says: dict[str, Any]) -> None:
    """Ask until all tasks of several workers say this. None ever fails: there are defaults."""
    async with asyncio.timeout(2 * TIMEOUT_S):
        while True:
            answers = json.loads(await run(env, "-c", ASK))
            agree = all(says.items() <= answer.items() for answer in answers)
            if agree and len({answer["worker"] for answer in answers}) > 1:
                return


async def test_a_job_follows_over_http_and_has_what_it_saw_last_where_nobody_answers(
    tmp_path: Path,
) -> None:
    file = tmp_path / "last"
    async with serving() as serve:
        server = await serve("agent", cluster="shop", founding_s=0.0)
        await server.node.put("shop/theme", "dark")
        with environment(server.node) as env:
            env |= {"SHOP_URL": f"http://{server.server.address}", "SHOP_LAST_KNOWN": str(file)}
            assert await run(env, "job.py") == "theme: dark\n"
        assert alive(server.node) == 0
    lines = (await run(env, "job.py")).splitlines()  # the first is of the log
    assert lines[-2:] == ["nobody answers, this is from disk", "theme: dark"]
