"""A child of a process with an open RocksDB ends as it was told to, and opens none of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
from pathlib import Path
from kvgossip.errors import DataDirError
from kvgossip.runtime.disk.rocksdb import RocksDB

def opened(folder):
    folder.mkdir()
    engine = RocksDB(folder)
    engine.open()
    return engine

parents = opened(Path(sys.argv[1]) / "parents")
parents.commit({b"ekey": b"value"})
parents.engine.flush()  # from then on RocksDB has threads
child = os.fork()
if not child:
    try:
        opened(Path(sys.argv[1]) / "own")
    except DataDirError as error:
        assert "was forked from one that had opened a data directory" in str(error)
        if not os.fork():
            sys.exit(8)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 8
        sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
parents.commit({b"ekey": b"other"})
parents.close()
opened(Path(sys.argv[1]) / "another").close()
print("so it is")
"""


def test_a_child_leaves_the_engine_of_its_parent_alone_and_is_refused_one_of_its_own(
    tmp_path: Path,
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert run.stdout == "so it is\n"
