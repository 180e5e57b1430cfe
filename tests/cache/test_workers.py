"""ConfigCache in several processes of one host: forked before and after it is opened, spawned, and
one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import multiprocessing, os, sys, threading, warnings
from kvgossip import ConfigCache

# what Python 3.12 says of a fork beside threads: that is what is tested
warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
config = ConfigCache("shop/", cluster="c", gossip="127.0.0.1:0", founding_s=0.0, **SETTINGS)
came = threading.Event()

@config.on_change("")
def note(change):
    if config.get("from/child"):
        came.set()

def child(queue):
    seen = threading.Event()

    @config.on_change("later")
    def note(change):
        seen.set()

    if METHOD == "fork":
        assert config._opening.orphaned
    assert config["theme"] == "dark"
    assert config.status().role == "follower", config.status()
    config.put("from/child", os.getpid())
    queue.put(os.getpid())
    assert seen.wait(60)
    assert config["later"] == 1
    config.close()
    queue.put("done")

if __name__ == "__main__":
    with config:
        config.put("theme", "dark")
        context = multiprocessing.get_context(METHOD)
        queue = context.Queue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        assert queue.get(timeout=60) == process.pid
        assert came.wait(60)
        assert config["from/child"] == process.pid
        assert config.status().role == "member"
        config.put("later", 1)
        assert queue.get(timeout=60) == "done"
        process.join(60)
        assert process.exitcode == 0, process.exitcode
    print("so it is")
"""


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_reads_writes_and_hears_through_its_parents_member(
    tmp_path: Path, method: str, where: str
) -> None:
    settings = {"data_dir": str(tmp_path / "data")} if where == "disk" else {}
    head = f"SETTINGS, METHOD = {settings!r}, {method!r}\n"
    (tmp_path / "program.py").write_text(head + PROGRAM)
    run = subprocess.run(
        [sys.executable, "-W", "error", str(tmp_path / "program.py")],
        stdout=subprocess.PIPE,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.stdout == "so it is\n"
