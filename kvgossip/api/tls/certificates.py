"""Certificates: what a server shows its clients, read again when its files change.

Laws
- Nobody is cut: a connection keeps the context that it began with, new ones get the newest.
- Files that cannot be served change nothing: the old certificate stays, with one ERROR, and in
  `/status`, the metrics and the doctor until the files are good again.
- Who replaces files replaces one after the other. What does not fit is logged only where it has not
  changed from one look to the next; an operator's SIGHUP says that it is complete.
- The disk may hang: it is looked at on a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kvgossip.api.tls.reading import Files, Reading, Signature, date, read, signature_of
from kvgossip.config import Config
from kvgossip.errors import ConfigError
from kvgossip.runtime.daemon_threads import DaemonThreads

LOOK_S = 5.0
SOON_S = 14 * 86_400.0
"""So long before it expires a certificate is spoken of."""

log = logging.getLogger("kvgossip.api")

_threads = DaemonThreads("kvgossip-tls", 1)


class Look(NamedTuple):
    """The files at one moment. `signature` is None where one of them is not there, or changed
    meanwhile; `reading` where they are none that can be served, and `problem` says why."""

    signature: Signature | None
    reading: Reading | None
    problem: str


class Certificates:
    """Raises ConfigError where the files cannot be served. `clock`: seconds of Unix time."""

    def __init__(self, files: Files, clock: Callable[[], float] = time.time) -> None:
        self._files, self._clock = files, clock
        #: Of the last look.
        self._signature: Signature | None = signature_of(files)
        self._reading = read(files, clock())
        #: Why the files at hand are not served; empty: they are.
        self._problem = ""
        #: What was seen once, and is believed if it is seen again.
        self._doubted: Look | None = None
        #: True if this was said of the present certificate already.
        self._said_soon = self._said_expired = False
        self.reloads = 0
        self._watcher: asyncio.Task[None] | None = None
        if self._reading.exposed:
            path = files.key or files.cert
            log.warning("everybody may read the TLS key in %s: chmod 600 %s", path, path)
        self.say_age()

    @classmethod
    def of(cls, config: Config) -> Certificates | None:
        """Those of an agent; None where it serves plain HTTP. Raises ConfigError."""
        if not config.tls_cert:
            return None
        return cls(Files(config.tls_cert, config.tls_key, config.tls_client_ca))

    def context(self) -> ssl.SSLContext:
        """For a new connection."""
        return self._reading.context

    # -- reading again ----------------------------------------------------------------------------

    def start(self) -> None:
        """Look at the files again and again, until `stop`."""
        self._watcher = asyncio.create_task(self._watch())

    def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    def reload(self) -> None:
        """Read the files now, as an operator wants, and say what came of it."""
        self._signature = None
        served = self._reading.fingerprint
        self._doubted = look = self.look()
        self.take(look)
        if look is not None and look.reading is not None and look.reading.fingerprint == served:
            log.info("the TLS certificate has been read again, and is the same")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.take(await _threads.run(self.look))
            self.say_age()

    def look(self) -> Look | None:
        """None: they are as they were. Changes nothing, so that any thread may do it."""
        try:
            before = signature_of(self._files)
        except ConfigError as error:
            return Look(None, None, _words(error))
        if before == self._signature:
            return None
        try:
            reading, problem = read(self._files, self._clock()), ""
        except ConfigError as error:
            reading, problem = None, _words(error)
        try:
            settled = signature_of(self._files) == before
        except ConfigError:
            settled = False
        return Look(before if settled else None, reading if settled else None, problem)

    def take(self, look: Look | None) -> None:
        """Serve what was seen, or say why not."""
        if look is None:
            self._doubted = None
            return
        if look.reading is not None:
            self._serve(look.reading, look.signature)
        elif look == self._doubted and look.problem:
            self._refuse(look)
        self._doubted = look

    def _serve(self, reading: Reading, signature: Signature | None) -> None:
        changed = reading.fingerprint != self._reading.fingerprint or self._problem
        self._reading, self._signature, self._problem = reading, signature, ""
        self._said_soon = self._said_expired = False
        self.reloads += 1
        if changed:
            names, until = ", ".join(reading.names), date(reading.not_after_s)
            log.info("new connections get the certificate of %s, until %s", names, until)

    def _refuse(self, look: Look) -> None:
        # it may become good by itself, as one that holds from tomorrow on
        self._signature = None
        if look.problem != self._problem:
            self._problem = look.problem
            log.error("the old TLS certificate stays: %s", look.problem)

    # -- what is known of it ----------------------------------------------------------------------

    @property
    def failed(self) -> bool:
        """True if the files at hand are not served."""
        return bool(self._problem)

    @property
    def not_after_s(self) -> float:
        """When it expires, seconds since 1970."""
        return self._reading.not_after_s

    @property
    def expires_s(self) -> float:
        """Seconds until it expires; negative once it has."""
        return self._reading.not_after_s - self._clock()

    def status(self) -> dict[str, Any]:
        """Ready for JSON."""
        reading = self._reading
        return {
            "names": list(reading.names),
            "not_after": date(reading.not_after_s),
            "expires_s": round(self.expires_s),
            "fingerprint": reading.fingerprint,
            "clients_need_certificate": reading.clients_until_s is not None,
            "reloads": self.reloads,
            "problem": self._problem,
        }

    def notices(self) -> Iterator[tuple[str, str]]:
        """What the doctor finds, as (code, text)."""
        now_s, reading = self._clock(), self._reading
        yield from _aging(
            "the TLS certificate", "certificate", reading.not_after_s - now_s, reading
        )
        if reading.clients_until_s is not None:
            left_s = reading.clients_until_s - now_s
            yield from _aging("the CA of its clients", "client_ca", left_s, None)
        if self._problem:
            yield "certificate_refused", f"the old TLS certificate stays: {self._problem}"

    def say_age(self) -> None:
        """Once of each certificate: that it expires soon, and that it has."""
        for code, text in self.notices():
            if code.endswith("_expired") and not self._said_expired:
                self._said_expired = True
                log.error("%s", text)
            elif code.endswith("_expires") and not self._said_soon:
                self._said_soon = True
                log.warning("%s", text)


def _aging(
    what: str, code: str, left_s: float, reading: Reading | None
) -> Iterator[tuple[str, str]]:
    names = f" for {', '.join(reading.names)}" if reading is not None else ""
    if left_s <= 0:
        yield f"{code}_expired", f"{what}{names} has expired: renew it, clients are refused"
    elif left_s <= SOON_S:
        days = max(1, round(left_s / 86_400))
        span = "a day" if days == 1 else f"{days} days"
        yield f"{code}_expires", f"{what}{names} expires within {span}: renew it"


def _words(error: ConfigError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)
