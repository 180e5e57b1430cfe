"""What a child inherits is orphaned: a flag, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

FLAG = """
import gc, os
from kvgossip.cache import forks

class Cache:
    orphaned = False

cache, gone = Cache(), Cache()
forks.watch(cache)
forks.watch(gone)
del gone
gc.collect()
child = os.fork()
if not child:
    os._exit(7 if cache.orphaned and len(forks._watched) == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert not cache.orphaned
print("so it is")
"""

MEMBER = """
import multiprocessing, os, sys, warnings
from pathlib import Path
from kvgossip import Config, Writing
from kvgossip.cache.host_source import HostSource
from kvgossip.config import Address
from tests.cache.local_member import LocalMember
from tests.cache.sinks import Remembering

# what Python 3.12 says of a fork beside threads: that is what is tested
warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
folder, method = sys.argv[1:3]
settings = {"data_dir": folder} if sys.argv[3] == "disk" else {}

def opened():
    config = Config(
        name="host", gossip=Address("127.0.0.1", 0), cluster="c", founding_s=0.0, **settings
    )
    source, sink = HostSource(folder, "a/", lambda: LocalMember(config, "a/")), Remembering()
    source.open(sink)
    sink.until(lambda each: bool(each.states) and each.states[-1].settled)
    return source, sink

def child(inherited, queue):
    if inherited:
        assert inherited[0].orphaned
        inherited[0].close()
        assert inherited[1].table == {"a/1": b"x"}
    source, sink = opened()
    sink.until(lambda each: each.table == {"a/1": b"x"})
    assert sink.states[-1].role == "follower", sink.states
    source.write([Writing(f"a/{os.getpid()}", b"y")]).result(60)
    sink.until(lambda each: len(each.table) == 2)
    queue.put(os.getpid())
    source.close()

if __name__ == "__main__":
    source, sink = opened()
    source.write([Writing("a/1", b"x")]).result(60)
    sink.until(lambda each: each.table == {"a/1": b"x"})
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(
        target=child, args=((source, sink) if method == "fork" else None, queue)
    )
    process.start()
    pid = queue.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0, process.exitcode
    # the parent is what it was, with what the child wrote
    sink.until(lambda each: f"a/{pid}" in each.table)
    assert sink.states[-1].role == "member"
    source.write([Writing("a/1", b"z")]).result(60)
    source.close()
    print("so it is")
"""

EXITING = """
import os, sys
from pathlib import Path
exec(Path(sys.argv[4]).read_text().partition("def child")[0])
source, sink = opened()
source.write([Writing("a/1", b"y")]).result(60)
child = os.fork()
if not child:
    # as a worker of gunicorn ends: with all finalizers, of what its parent has open too
    del source, sink
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
source.write([Writing("a/1", b"z")]).result(60)
source.close()
print("so it is")
"""


def says(code: Path, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(code), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return run.stdout


def test_a_fork_sets_a_flag_in_the_child_alone(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(FLAG)
    assert says(tmp_path / "code.py") == "so it is\n"


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_a_member_follows_it(tmp_path: Path, method: str, where: str) -> None:
    (tmp_path / "code.py").write_text(MEMBER)
    assert says(tmp_path / "code.py", str(tmp_path / "seat"), method, where) == "so it is\n"


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_child_that_never_uses_the_cache_ends_and_takes_nothing_with_it(
    tmp_path: Path, where: str
) -> None:
    (tmp_path / "member.py").write_text(MEMBER)
    (tmp_path / "code.py").write_text(EXITING)
    told = says(
        tmp_path / "code.py", str(tmp_path / "seat"), "fork", where, str(tmp_path / "member.py")
    )
    assert told == "so it is\n"
