"""Agents with a data directory, as an operator runs, kills and repairs them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.cli.test_cli import Process, agent, eventually, run
from tests.runtime.disk.disks import flip_a_byte, newest

AGENT = ("agent", "--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0")
# nothing listens there
NOBODY = "127.0.0.1:1"


def kill(process: Process) -> None:
    process.popen.send_signal(signal.SIGKILL)
    process.popen.wait()


def refused(*arguments: str) -> str:
    """What an agent that cannot start says."""
    done = run(*AGENT, *arguments)
    assert done.returncode == 2
    error = done.stderr.decode()
    assert "Traceback" not in error
    return error


def test_an_acknowledged_write_survives_kill_9_and_needs_no_peer_to_be_read(tmp_path: Path) -> None:
    with agent("--name", "n1", "--data-dir", str(tmp_path)) as process:
        url = process.event("serving")["url"]
        assert run("put", "key", "value", "--url", url).returncode == 0
        kill(process)
    with agent("--name", "n1", "--data-dir", str(tmp_path), "--join", NOBODY) as process:
        url = process.event("serving")["url"]
        assert run("get", "key", "--url", url).stdout == b"value"
        status = json.loads(run("status", "-o", "json", "--url", url).stdout)
        assert (status["memory_only"], status["storage"]["directory"]) == (False, str(tmp_path))


def test_the_data_directory_may_come_from_the_environment(tmp_path: Path) -> None:
    with agent("--name", "n1", KVGOSSIP_DATA_DIR=str(tmp_path / "new" / "folder")) as process:
        process.event("serving")
        assert (tmp_path / "new" / "folder" / "node.json").exists()


def test_what_is_wrong_with_a_data_directory_is_one_clear_error_and_exit_code_2(
    tmp_path: Path,
) -> None:
    folder = str(tmp_path)
    with agent("--name", "n1", "--cluster", "shop", "--data-dir", folder) as process:
        process.event("serving")
        assert f"in use by the process {process.popen.pid}" in refused(
            "--name", "n1", "--cluster", "shop", "--data-dir", folder
        )
    assert "belongs to cluster 'shop', and this node has cluster 'blog'" in refused(
        "--cluster", "blog", "--data-dir", folder
    )
    assert "joins nobody" in refused("--data-dir", folder, "--rebuild")
    assert "add --data-dir" in refused("--rebuild")
    (tmp_path / "node.json").write_text(json.dumps({"format": 99, "name": "n1"}))
    assert f"the data directory {folder} has format 99" in refused(
        "--name", "n1", "--data-dir", folder
    )


def test_a_damaged_directory_is_refused_and_rebuilt_on_the_word_of_an_operator(
    tmp_path: Path,
) -> None:
    with agent("--name", "n1") as first:
        facts = first.event("serving")
        options = ("--name", "n2", "--data-dir", str(tmp_path), "--join", facts["gossip"])
        for number in range(3):
            run("put", f"key-{number}", os.urandom(400).hex(), "--url", facts["url"])
        for _ in range(2):
            with agent(*options) as second:
                second.event("settled")
                second.popen.terminate()
                second.end()
        flip_a_byte(newest(tmp_path / "db", "*.sst"))
        error = refused(*options)
        assert f"{tmp_path / 'db'}" in error
        assert "--rebuild" in error
        with agent(*options, "--rebuild") as second:
            url = second.event("serving")["url"]
            assert "kept in" in second.line("rebuilding", "stderr")[0] or list(
                tmp_path.glob("damaged-*")
            )
            second.event("settled")
            assert "key-2" in eventually(url, "list", holds="key-2")
    assert list(tmp_path.glob("damaged-*/db"))
