"""A lock on a file: one holder, in all processes and in this one; and no child has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvgossip import Config, Node
from kvgossip.errors import DataDirError
from kvgossip.runtime.disk.file_lock import FileLock, HeldError
from tests.api.serving import ANYWHERE

OTHER = """
import sys
from kvgossip.runtime.disk.file_lock import FileLock, HeldError
try:
    FileLock(sys.argv[1])
    print("free")
except HeldError as error:
    print(error.holder)
"""


def seen_by_another(path: Path) -> str:
    """What another process finds: "free", or the number of the holder."""
    run = subprocess.run(
        [sys.executable, "-c", OTHER, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return run.stdout.strip()


def test_a_file_has_one_holder_among_all_processes(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(str(path))
    assert seen_by_another(path) == str(os.getpid())
    lock.release()
    lock.release()
    assert seen_by_another(path) == "free"


def test_a_second_holder_in_one_process_is_refused_and_takes_nothing_from_the_first(
    tmp_path: Path,
) -> None:
    """By whatever name it comes: closing any descriptor of the file would free it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    lock = FileLock(str(tmp_path / "folder" / "lock"))
    for folder in ("folder", "link", "folder/../folder"):
        with pytest.raises(HeldError, match=str(os.getpid())):
            FileLock(f"{tmp_path}/{folder}/lock")
    assert seen_by_another(tmp_path / "folder" / "lock") == str(os.getpid())
    lock.release()
    FileLock(str(tmp_path / "link" / "lock")).release()


FORKING = """
import os, sys
from kvgossip.runtime.disk.file_lock import FileLock, HeldError
path = sys.argv[1]
lock = FileLock(path)
told, tell = os.pipe()
child = os.fork()
if not child:
    # not its own: it neither has it nor frees it
    lock.release()
    try:
        FileLock(path)
    except HeldError:
        os.write(tell, b"held ")
    os.read(0, 1)
    FileLock(path)
    os.write(tell, b"free")
    os._exit(0)
assert os.read(told, 5) == b"held "
lock.release()
print("released", flush=True)
os.waitpid(child, 0)
assert os.read(told, 5) == b"free"
"""


def test_a_forked_child_has_no_part_of_its_parents_lock(tmp_path: Path) -> None:
    """With flock, it would hold on to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"released\n"
    process.communicate(b"x")
    assert process.returncode == 0


async def test_two_nodes_of_one_process_cannot_have_one_data_directory(tmp_path: Path) -> None:
    def node(name: str) -> Node:
        return Node(
            Config(name=name, gossip=ANYWHERE, founding_s=0.0, data_dir=str(tmp_path / "data"))
        )

    async with node("n1") as first:
        with pytest.raises(DataDirError, match=f"in use by the process {os.getpid()}"):
            await node("n2").start()
        assert seen_by_another(tmp_path / "data" / "lock") == str(os.getpid())
        await first.put("a", b"1")
    async with node("n1") as again:
        assert again.get("a") == b"1"
