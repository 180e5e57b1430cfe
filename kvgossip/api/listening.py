"""Listening sockets of HTTP: TCP addresses and unix sockets.

Connections wait in a socket until a server starts. A unix socket is a file that outlives a process
which is killed: nobody answers at it then, and the next one takes its place. It is its owner's
alone until it has its mode, so nobody connects that may not.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kvgossip.config import Address
from kvgossip.config.unix_socket import PREFIX, unix_path
from kvgossip.errors import ConfigError
from kvgossip.runtime.disk.private_file import PRIVATE_FILE

BACKLOG = 4096
"""So many connections may queue while a turn of the event loop is long. The kernel ignores more:
those clients try again after seconds."""
LOCK_S = 1.0
UNIX_MODE = 0o660
"""Owner and group: whoever may open the file may do everything."""


class PortInUseError(ConfigError):
    """Another socket listens there."""


def listen(address: Address) -> socket.socket:
    """A listening TCP socket. An empty host means all addresses, port 0 a free port.

    Raises ConfigError with one clear line where the address cannot be had.
    """
    try:
        if not address.host:
            dual = socket.has_dualstack_ipv6()
            return socket.create_server(
                address,
                family=socket.AF_INET6 if dual else socket.AF_INET,
                backlog=BACKLOG,
                dualstack_ipv6=dual,
            )
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(address, error) from error


def listen_unix(text: str) -> socket.socket:
    """A listening unix socket at `unix:PATH`. Raises ConfigError where somebody listens there,
    where another file is in its place, or where it cannot be made."""
    path = Path(unix_path(text))
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _alone_in(path.parent):
            _make_way(path)
            umask = os.umask(0o777 & ~PRIVATE_FILE)
            try:
                listener.bind(str(path))
            finally:
                os.umask(umask)
            path.chmod(UNIX_MODE)
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen for HTTP on the unix socket {path}: {error.strerror or error}",
            "name a file in a directory that exists and that this user may write to",
        ) from error
    except ConfigError:
        listener.close()
        raise
    return listener


def close_listener(listener: socket.socket) -> None:
    """Close it, and remove the file of a unix socket; but not one that is another process's now."""
    name = listener.getsockname() if listener.fileno() >= 0 else None
    listener.close()
    if isinstance(name, str) and name:
        with suppress(OSError):
            if _is_stale(Path(name)):
                os.unlink(name)


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Where clients of this machine reach it; that of a unix socket has no scheme."""
    name = listener.getsockname()
    if isinstance(name, str):
        return PREFIX + name
    host, port = name[:2]
    if host == "::" and listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        host = "::1"
    return f"{scheme}://{Address('127.0.0.1' if host in ('0.0.0.0', '::') else host, port)}"


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two processes that start at once look at a socket there, and replace it, one after the
    other. Somebody else's lock on the folder holds neither of them for long."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end_s = time.monotonic() + LOCK_S
        while time.monotonic() < end_s:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(LOCK_S / 100)
        yield
    finally:
        os.close(descriptor)


def _make_way(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(
            f"{path} is there already, and is no socket",
            "name another file with --http unix:PATH: this one is not touched",
        )
    if not _is_stale(path):
        raise PortInUseError(
            f"the unix socket {path} is in use",
            "stop what listens there, or choose another with --http unix:PATH",
        )
    path.unlink()


def _is_stale(path: Path) -> bool:
    """True for a socket whose process is gone. Raises OSError where that cannot be known."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except BlockingIOError:
            # somebody listens, and has more to do than to accept
            return False
    return False


def _cannot_listen(address: Address, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"HTTP address {address} is in use",
            "stop what listens there, or choose another with --http HOST:PORT (port 0: a free one)",
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"this user may not listen on port {address.port}",
            "choose a port from 1024 on with --http HOST:PORT, or allow it: ports below need root, "
            "or CAP_NET_BIND_SERVICE",
        )
    return ConfigError(
        f"cannot listen for HTTP on {address}: {error.strerror or error}",
        "choose an address of this machine with --http HOST:PORT",
    )
