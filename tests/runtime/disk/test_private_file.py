"""What a node and its commands write is for their owner alone, whatever the umask."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvgossip import Config, Node
from kvgossip.errors import DataDirError
from kvgossip.runtime.disk.private_file import private_file, private_folder
from tests.api.serving import ANYWHERE, NOBODY
from tests.cli.test_cli import agent, run


def modes_under(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
    }


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def configured(data_dir: Path, *join: str) -> Config:
    return Config(name="n1", gossip=ANYWHERE, founding_s=0.0, data_dir=str(data_dir), join=join)


@pytest.mark.parametrize("mask", [0o000, 0o077])
async def test_the_data_directory_of_an_embedded_node_opens_to_its_owner_alone(
    tmp_path: Path, mask: int
) -> None:
    data = tmp_path / "new" / "data"
    with umask(mask):
        async with Node(configured(data)) as node:
            await node.put("a", b"1")
            found = modes_under(data)
        async with Node(configured(data, NOBODY), rebuild=True):
            found |= modes_under(data)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    # what RocksDB makes has the mode of the umask, in a folder that only the owner enters
    own = {name: mode for name, mode in found.items() if not name.startswith(("db/", "options/"))}
    folders = {name: mode for name, mode in own.items() if (data / name).is_dir()}
    assert {"db", "options"} <= folders.keys()
    (aside,) = (name for name in folders if name.startswith("damaged-") and "/" not in name)
    assert {folders["db"], folders["options"], folders[aside]} == {0o700}
    files = [name for name in own if (data / name).is_file() and "/" not in name]
    assert {"lock", "node.json"} <= set(files)
    assert {own[name] for name in files} == {0o600}


async def test_folders_of_an_older_version_are_closed_when_they_are_opened(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with Node(configured(data)) as node:
        await node.put("a", b"1")
    for name in ("db", "options"):
        (data / name).chmod(0o755)
    (data / "lock").chmod(0o644)
    # its own mode is its owner's choice: a group may be meant to see that there is data
    data.chmod(0o750)
    async with Node(configured(data)) as node:
        assert node.get("a") is not None
    assert stat.S_IMODE(data.stat().st_mode) == 0o750
    found = modes_under(data)
    assert (found["db"], found["options"], found["lock"]) == (0o700, 0o700, 0o600)


async def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    data = tmp_path / "data"
    data.mkdir()
    (data / "lock").symlink_to(victim)
    with pytest.raises(DataDirError, match="cannot be used") as caught:
        await Node(configured(data)).start()
    assert "--data-dir" in caught.value.hint
    assert victim.read_text() == "mine"


def test_a_link_in_place_of_a_file_to_write_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        private_file(tmp_path / "link")
    assert victim.read_text() == "mine"
    private_folder(tmp_path / "folder")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700


def test_all_that_an_agent_and_its_commands_write_is_its_owners(tmp_path: Path) -> None:
    data, identity, export = tmp_path / "data", tmp_path / "id", tmp_path / "all.ndjson"
    with (
        umask(0),
        agent("--data-dir", str(data), "--identity", str(identity), "--name", "n1") as process,
    ):
        url = process.event("serving")["url"]
        assert run("put", "a", "1", "--url", url).returncode == 0
        assert run("export", str(export), "--url", url).returncode == 0
        assert run("keygen", str(tmp_path / "keys")).returncode == 0
        process.popen.terminate()
        process.end()
    found = modes_under(tmp_path)
    folders = {name for name in found if (tmp_path / name).is_dir()}
    assert {found[name] for name in folders} == {0o700}
    assert {mode for name, mode in found.items() if name not in folders} == {0o600}
    assert {"all.ndjson", "id", "keys", "data/lock"} <= found.keys() - folders
    assert json.loads(export.read_bytes().splitlines()[0])
