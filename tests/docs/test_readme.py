"""The README's code blocks are run as a newcomer would, so that they stay true."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import README, ROOT, blocks, run_python, running_demo


def block(language: str, beginning: str) -> str:
    (found,) = (
        block.text for block in blocks(README, language) if block.text.startswith(beginning)
    )
    return found


@pytest.fixture
def demo() -> Iterator[list[str]]:
    with running_demo() as urls:
        yield urls


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    targets = [line.split()[1] for line in block("sh", "make demo").splitlines()]
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_lines_of_the_readme_work_as_printed(demo: list[str]) -> None:
    answers = []
    shown = ("config/theme", "dark", "config/theme", "deleted", '"alive"')
    for line, text in zip(block("sh", "curl").splitlines(), shown, strict=True):
        for port, url in zip((7480, 7482, 7484), demo, strict=True):
            line = line.replace(f"http://127.0.0.1:{port}", url)
        answers.append(answer_to(line, text))
    assert answers[1] == "dark"
    assert answers[4].count('"alive"') == 3


def answer_to(line: str, text: str) -> str:
    """What curl prints, once it has the text: others hear of a write a moment after its answer."""
    deadline_s = time.monotonic() + 30.0
    command = [*shlex.split(line), "--silent", "--show-error", "--fail"]
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode == 0 and text in done.stdout:
            return done.stdout
        assert time.monotonic() < deadline_s, f"{line}: {done.stdout}{done.stderr}"


def test_the_embed_example_of_the_readme_runs(tmp_path: Path) -> None:
    text = block("python", "from kvgossip import ConfigCache")
    # its port may be in use where tests run side by side
    code = text.replace('cluster="shop", ', 'cluster="shop", gossip="127.0.0.1:0", ')
    assert code != text
    printed = run_python(code, tmp_path)
    assert sorted(printed.splitlines()) == ["dark 2.5", "light -> dark"]
