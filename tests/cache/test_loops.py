"""A cache on either event loop, with warnings as errors and asyncio's debug mode: nothing is said
that nobody asked for, and nothing stays open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import asyncio, gc, logging, os, subprocess, sys

if sys.argv[1] == "uvloop":
    from uvloop import new_event_loop
else:
    sys.modules["uvloop"] = None  # as if it were not installed, for the member too
    from asyncio import new_event_loop

from kvgossip import ConfigCache

# how long a callback took says something of the machine alone
logging.getLogger("asyncio").addFilter(lambda record: "took" not in str(record.msg))
HELLO = (sys.executable, "-c", "print('hello')")

def cache():
    return ConfigCache("shop/", cluster="c", gossip="127.0.0.1:0", founding_s=0.0)

async def says_hello():
    process = await asyncio.create_subprocess_exec(*HELLO, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert (output, process.returncode) == (b"hello\\n", 0)

async def use():
    async with cache() as member, cache() as follower:
        assert (member.status().role, follower.status().role) == ("member", "follower")
        heard = asyncio.Queue()

        @follower.on_change("theme")
        async def note(change):
            await heard.put(change.new)

        changes = follower.changes("theme")
        for theme in ("dark", "light"):
            await asyncio.gather(says_hello(), says_hello(), member.aput("theme", theme))
            await asyncio.to_thread(subprocess.run, HELLO, check=True, stdout=subprocess.DEVNULL)
            assert (await anext(changes)).new == theme
            assert await heard.get() == theme
        await follower.adelete("theme")
        assert (await anext(changes)).new is None
        # what is cancelled while it waits leaves nothing behind
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

def descriptors():
    paths = (f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd"))
    # the folder that was listed is closed again
    return sorted(os.readlink(path).split(":")[0] for path in paths if os.path.exists(path))

async def main():
    loop = asyncio.get_running_loop()
    assert loop.get_debug()
    is_uvloop = type(loop).__module__.startswith("uvloop")
    assert is_uvloop == (sys.argv[1] == "uvloop")
    opened = []
    for _ in range(3):
        await use()
        gc.collect()
        opened.append(descriptors())
    # what the loop itself keeps is there after the first round
    assert opened[1] == opened[2], opened
    assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()

with asyncio.Runner(loop_factory=new_event_loop) as runner:
    runner.run(main())
gc.collect()
print("so it is")
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_cache_is_used_beside_subprocesses_without_a_warning_and_leaves_nothing_open(
    tmp_path: Path, loop: str
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", str(tmp_path / "program.py"), loop],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (run.stdout, run.stderr) == ("so it is\n", "")
