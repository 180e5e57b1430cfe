"""The pages of the repository as tests read them: code blocks, and the commands in their lines."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = (README, *sorted(DOCS.glob("*.md")))

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_SEPARATORS = {"|", "||", "&&", ";"}
_REDIRECTIONS = {">", ">>", "<"}


class Block(NamedTuple):
    """A code block. `output`: that of language `text` right after it, None where there is none."""

    page: str
    language: str
    text: str
    output: str | None


def blocks(page: Path, language: str) -> list[Block]:
    """The blocks of this language, in their order."""
    return [
        Block(page.name, kind, text, output)
        for kind, text, output in _BLOCK.findall(page.read_text(encoding="utf-8"))
        if kind == language
    ]


def inline_code(page: Path) -> list[str]:
    """What stands between single backticks, each on one line."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return [" ".join(code.split()) for code in _INLINE.findall(text)]


def commands_in(text: str) -> list[list[str]]:
    """The commands of shell lines, each as words, without comments, redirections and pipes."""
    found: list[list[str]] = []
    for line in _logical_lines(text):
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        found += _split(list(words))
    return found


def _logical_lines(text: str) -> Iterator[str]:
    """Lines, joined where a backslash or an open quote continues them."""
    pending = ""
    for line in text.replace("\\\n", " ").splitlines():
        pending += line
        if pending.count("'") % 2:
            pending += "\n"
            continue
        if pending.strip():
            yield pending
        pending = ""
    assert not pending, f"a quote is open: {pending}"


def _split(words: Sequence[str]) -> Iterator[list[str]]:
    command: list[str] = []
    skips = False
    for word in words:
        if word in _SEPARATORS:
            yield command
            command = []
        elif skips or word in _REDIRECTIONS:
            skips = word in _REDIRECTIONS
        else:
            command.append(word)
    if command:
        yield command


@contextmanager
def running_demo() -> Iterator[list[str]]:
    """The URLs of a running `kvgossip demo`, in the order of its nodes."""
    command = [sys.executable, "-m", "kvgossip", "demo", "--free-ports", "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        urls: list[str] = []
        for line in process.stdout:
            urls += re.findall(r"^\s+n\d\s+(http://\S+)", line)
            if line.startswith("Ctrl-C"):
                break
        try:
            yield urls
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0


def run_python(code: str, directory: Path) -> str:
    """What the program prints. Fails where it does."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=directory
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
