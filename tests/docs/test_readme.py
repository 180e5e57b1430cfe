"""The README's code blocks are run as a newcomer would, so that they stay true."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def blocks(language: str, beginning: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language and text.startswith(beginning)]


@pytest.fixture
def demo() -> Iterator[list[str]]:
    """The URLs of a running `kvgossip demo`, in the order of its nodes."""
    command = [sys.executable, "-m", "kvgossip", "demo", "--free-ports", "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        urls: list[str] = []
        for line in process.stdout:
            urls += re.findall(r"^\s+n\d\s+(http://\S+)", line)
            if line.startswith("Ctrl-C"):
                break
        yield urls
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    (block,) = blocks("sh", "make demo")
    targets = [line.split()[1] for line in block.splitlines()]
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_lines_of_the_readme_work_as_printed(demo: list[str]) -> None:
    (block,) = blocks("sh", "curl")
    answers = []
    shown = ("config/theme", "dark", "config/theme", "deleted", '"alive"')
    for line, text in zip(block.splitlines(), shown, strict=True):
        for port, url in zip((7480, 7482, 7484), demo, strict=True):
            line = line.replace(f"http://127.0.0.1:{port}", url)
        answers.append(answer_to(line, text))
    assert answers[1] == "dark"
    assert answers[4].count('"alive"') == 3


def answer_to(line: str, text: str) -> str:
    """What curl prints, once it contains the text: the other nodes hear of a write a moment after
    it was answered."""
    deadline_s = time.monotonic() + 30.0
    command = [*shlex.split(line), "--silent", "--show-error", "--fail"]
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode == 0 and text in done.stdout:
            return done.stdout
        assert time.monotonic() < deadline_s, f"{line}: {done.stdout}{done.stderr}"


def test_the_embed_example_of_the_readme_runs() -> None:
    (block,) = blocks("python", "import asyncio")
    # its port may be in use where tests run side by side
    code = block.replace('cluster="shop", ', 'cluster="shop", gossip=Address("127.0.0.1", 0), ')
    assert code != block
    code = "from kvgossip.config import Address\n" + code
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["b'dark'", "config/theme None b'dark'"]


def test_the_simulator_line_of_the_readme_runs() -> None:
    (block,) = blocks("sh", ".venv/bin/kvgossip sim")
    for line in block.splitlines():
        arguments = shlex.split(line.removeprefix(".venv/bin/kvgossip"))
        done = subprocess.run(
            [sys.executable, "-m", "kvgossip", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
