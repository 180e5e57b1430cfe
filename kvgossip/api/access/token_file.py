"""TokenFile: the tokens file of an agent while it runs.

It is read again when it changes, and at SIGHUP. A file that cannot be used any more changes
nothing: the tokens from before stay, the log has one ERROR, and `/status` and a metric say so until
it can.

It is looked at on a thread of its own: a disk that hangs holds nobody. A change is taken once two
looks have seen the same file, so that one that is being written is not read half way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kvgossip.api.access.tokens import MARK, Token, Tokens, parse_tokens, section_of
from kvgossip.errors import ConfigError
from kvgossip.runtime.daemon_threads import DaemonThreads

LOOK_S = 1.0
FILE_BYTES_MAX = 2**20

log = logging.getLogger("kvgossip.api")
_threads = DaemonThreads("kvgossip-tokens", 1)


class Stamp(NamedTuple):
    """What tells one state of a file from another."""

    device: int
    inode: int
    bytes: int
    changed_ns: int
    mode: int


class TokenFile:
    """Raises ConfigError where the file cannot be used."""

    def __init__(self, path: str) -> None:
        self.path = path
        #: Why what is in the file now does not hold; empty: it does.
        self.problem = ""
        self.tokens = read_tokens(path)
        #: Called with the tokens of a file that has changed.
        self.on_change: Callable[[Tokens], None] = lambda tokens: None
        self._taken = self._seen = _stamp_of(path)
        self._task: asyncio.Task[None] | None = None
        #: Set to have the file read again, whether it has changed or not.
        self._woken = asyncio.Event()

    def start(self) -> None:
        """Look at the file from now on, until `stop`."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Have it read again now, whether it has changed or not."""
        self._woken.set()

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), LOOK_S)
            if self._woken.is_set():
                self._woken.clear()
                await self.reload()
            else:
                await self.look()

    async def look(self) -> None:
        """Take the file if it has changed, and is the same as at the look before."""
        stamp = await _threads.run(lambda: _stamp_of(self.path))
        settled, self._seen = stamp == self._seen, stamp
        if settled and stamp != self._taken:
            await self.reload()

    async def reload(self) -> None:
        """Take what is in the file now."""
        stamp, tokens, problem = await _threads.run(lambda: _read_again(self.path))
        self._taken = self._seen = stamp
        if tokens is None:
            if problem != self.problem:
                log.error("the tokens from before stay: %s", problem)
            self.problem = problem
            return
        self.problem, before = "", self.tokens
        same = tokens.fingerprint == before.fingerprint
        if not same:
            self.tokens = tokens
            self.on_change(tokens)
        text = "the tokens file %s has been read again%s: %s"
        log.info(text, self.path, ", and is the same" if same else "", ", ".join(tokens.by_name))


def check_section(token: Token) -> None:
    """Raises ConfigError where such a section cannot stand in a file."""
    try:
        parse_tokens(section_of(token), "")
    except ConfigError as error:
        # without the place: there is no file yet
        raise ConfigError(str(error).partition(": ")[2], error.hint) from None


def add_section(path: str, token: Token) -> None:
    """Add a section to a file, or make it, with mode 0600. It is replaced as a whole, so that a
    node which reads it meanwhile finds the old file or the new one. Raises ConfigError; then
    nothing was changed."""
    target = Path(path).resolve()
    text, like = "", None
    if target.exists():
        if token.name in read_tokens(path).by_name:
            raise ConfigError(
                f"the tokens file {path} has a section {token.name!r} already",
                "choose another name, or take that section out first",
            )
        text, like = target.read_text().rstrip("\n") + "\n\n", target.stat()
    text += section_of(token)
    parse_tokens(text, path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if like is not None:
                # an agent of another user reads it still
                os.fchown(descriptor, like.st_uid, like.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            os.fsync(descriptor)
        os.replace(temporary, target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        hint = "name a file in a directory that you may write to"
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint) from error


def _read_again(path: str) -> tuple[Stamp | None, Tokens | None, str]:
    # the stamp first: what changes meanwhile is seen by the next look
    stamp = _stamp_of(path)
    try:
        return stamp, read_tokens(path), ""
    except ConfigError as error:
        return stamp, None, f"{error} ({error.hint})"


def _stamp_of(path: str) -> Stamp | None:
    """None: there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns, found.st_mode)


def read_tokens(path: str) -> Tokens:
    """Raises ConfigError where the file cannot be read, says nothing plain, or may be read by
    everybody."""
    if re.search(re.escape(MARK) + r"[\w-]{20}", path):
        # the error must not repeat it
        raise ConfigError(
            "this is a token, where the path of a file is expected",
            "write the section that `kvgossip token new` prints into a file, and name that; make "
            "another token: others may have seen this one on the command line",
        )
    try:
        # not held by a pipe that nobody writes to
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(FILE_BYTES_MAX + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        hint = "name the file of tokens; `kvgossip token new NAME --file FILE` makes one"
        raise ConfigError(f"cannot read the tokens file {path}: {error.strerror}", hint) from error
    if not stat.S_ISREG(mode) or len(data) > FILE_BYTES_MAX:
        hint = f"name a file of at most {FILE_BYTES_MAX} bytes"
        raise ConfigError(f"the tokens file {path} is no file, or too long", hint)
    if mode & stat.S_IRWXO:
        raise ConfigError(
            f"everybody may read or write the tokens file {path} (mode {stat.S_IMODE(mode):04o})",
            f"make it yours alone: chmod 600 {path}",
        )
    try:
        return parse_tokens(data.decode(), path)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"line {line} of the tokens file {path} is not UTF-8", "") from None
