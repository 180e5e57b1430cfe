"""Rights: who may do what.

A request has a Caller: the client of its connection, and the token that it has sent. What that may
do stands in the tokens file; which right a route needs, in its Route. Both lanes ask here, on the
decoded key: keys.py for one key, route_table.py for everything else.

Laws
- Without a tokens file everybody may do everything who gets through the doors; but a token that is
  sent is refused with 501, since its sender believes that it means something.
- With one, what is not granted is denied: 401 to who shows nothing that is known here, 403 to who
  is known. `/healthz` and `/readyz` alone need nothing.
- A list, a watch, a recurse is allowed where its prefix lies under a granted one, else refused as a
  whole. It is never filtered, so no answer is quietly a part of the truth.
- `admin` is every right: who may export and import may read and write anything by that.
- A grant does not outlive the tokens that it was found in: a Caller that is kept looks again once
  there are others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any, NamedTuple

from kvgossip.api.access.audit import Audit
from kvgossip.api.access.client import Client
from kvgossip.api.access.refusal import AccessError
from kvgossip.api.access.token_file import TokenFile
from kvgossip.api.access.tokens import ANONYMOUS, Token, Tokens, hash_of
from kvgossip.config.description import shown
from kvgossip.protocol.doctor.shell_report import NO_TOKENS

CHALLENGE = 'WWW-Authenticate: Bearer realm="kvgossip"'
SEND_HINT = (
    "send it as `Authorization: Bearer TOKEN`; the command line has --token-file and KVGOSSIP_TOKEN"
)
_SCHEME = b"bearer "
_EVERY_KEY = ("",)


class Right(Enum):
    """The right that a client needs for a route."""

    OPEN = "open"
    """None: every client that reaches the address has this right."""
    ANY = "any"
    """Any at all: it is enough to be known."""
    READ = "read"
    """That key, or all keys with that prefix."""
    WRITE = "write"
    EACH_KEY = "each key"
    """To read and write the keys in its body: its handler asks."""
    METRICS = "metrics"
    """For what tells of the node and its cluster, and nothing of the data."""
    OPERATE = "admin"
    """For routes that change the cluster, or show what an operator alone needs."""


class Scope(NamedTuple):
    """The keys that a request is about: one, or all that start with `text`."""

    text: str
    is_prefix: bool = False

    def __str__(self) -> str:
        every = "every key" if not self.text else f"all keys under {shown(self.text)}"
        return every if self.is_prefix else shown(self.text)


EVERYBODY = Token("", admin=True)
"""Who asks a node that has no tokens."""
NOBODY_KNOWN = Token("")


class Access:
    """The rights on one server. `file`: None without a tokens file."""

    def __init__(self, file: TokenFile | None = None) -> None:
        self._file, self.audit = file, Audit()
        #: Those that hold; None: everybody may do everything.
        self.tokens: Tokens | None = None if file is None else file.tokens

    def start(self, on_change: Callable[[], None]) -> None:
        """Look after the file from now on, until `stop`. `on_change`: called once other tokens
        hold."""

        def take(tokens: Tokens) -> None:
            self.tokens = tokens
            on_change()

        if self._file is not None:
            self._file.on_change = take
            self._file.start()

    async def stop(self) -> None:
        if self._file is not None:
            await self._file.stop()

    def reload(self) -> None:
        """Read the file again, soon."""
        if self._file is not None:
            self._file.wake()

    @property
    def fingerprint(self) -> str:
        """Of the tokens, for the doctor."""
        return NO_TOKENS if self.tokens is None else self.tokens.fingerprint

    def status(self) -> dict[str, Any] | None:
        """Ready for JSON; None without a tokens file."""
        if self._file is None or self.tokens is None:
            return None
        return {
            "names": list(self.tokens.by_name),
            "fingerprint": self.fingerprint,
            "problem": self._file.problem or None,
        }

    def caller_in(self, found: Mapping[bytes, bytes], client: Client) -> Caller | None:
        """Who has sent these headers, each of which is there once, by their names in lower case.
        None: everybody may do what the express lane does."""
        secrets = [bearer(found.get(b"authorization", b"")), found.get(b"x-consul-token", b"")]
        secret = any(secrets)
        return self.caller(secrets, client) if secret or self.tokens is not None else None

    def caller(self, secrets: list[bytes], client: Client, asked: str = "") -> Caller:
        """Who has sent these tokens, of which empty ones are none. `asked`: the request, for the
        audit log."""
        return Caller(self, {secret for each in secrets if (secret := each.strip())}, client, asked)


def bearer(authorization: bytes) -> bytes:
    """The token in the value of this header. Another scheme is none of ours: a proxy's, perhaps."""
    is_ours = authorization[: len(_SCHEME)].lower() == _SCHEME
    return authorization[len(_SCHEME) :].strip() if is_ours else b""


class Caller:
    """Who asks. All `must_...` raise AccessError where it may not, and note that in the audit
    log."""

    __slots__ = ("_access", "_grant", "_hashes", "_read", "_tokens", "_write", "asked", "client")

    def __init__(self, access: Access, secrets: set[bytes], client: Client, asked: str) -> None:
        self._access, self.client, self.asked = access, client, asked
        self._hashes = [hash_of(secret) for secret in secrets]
        self._look_up()

    @property
    def name(self) -> str:
        """Of its token or certificate, for the audit log; empty where nobody knows it."""
        return self._present().name

    @property
    def is_guarded(self) -> bool:
        """True if what it may do can change."""
        return self._tokens is not None

    @contextmanager
    def noting_refusals(self) -> Iterator[None]:
        """Around what refuses it for another reason than a right: the audit log tells of that
        too."""
        try:
            yield
        except AccessError as error:
            self._access.audit.refused(self.name, self.client.address, self.asked, error.status)
            raise

    def did(self, status: int) -> None:
        """It gave a command, and this is the status of the answer."""
        self._access.audit.command(self.name, self.client.address, self.asked, status)

    @property
    def kept(self) -> Caller | None:
        """Itself, for who looks at its rights again later; None where they never change."""
        return self if self.is_guarded else None

    def may_read(self, scope: Scope) -> bool:
        self._present()
        return scope.text.startswith(self._read)

    def may(self, right: Right) -> bool:
        """For those that are not about keys."""
        grant = self._present()
        if right is Right.METRICS:
            return grant.admin or grant.metrics
        if right is Right.OPERATE:
            return grant.admin
        return right is Right.OPEN or grant is not NOBODY_KNOWN

    # -- what must be so; the first two are asked for every request of the express lane ------------

    def must_read(self, key: str) -> None:
        if self._tokens is not self._access.tokens:
            self._look_up()
        if not key.startswith(self._read):
            raise self._refusal("read", shown(key))

    def must_write(self, key: str) -> None:
        if self._tokens is not self._access.tokens:
            self._look_up()
        if not key.startswith(self._write):
            raise self._refusal("write", shown(key))

    def must(self, right: Right, scope: Scope | None = None) -> None:
        """`scope`: the keys that READ and WRITE are about."""
        self._present()
        if scope is not None:
            granted = self._write if right is Right.WRITE else self._read
            if not scope.text.startswith(granted):
                raise self._refusal(right.value, str(scope))
        elif not self.may(right):
            raise self._refusal(right.value, "")

    # -- the grant -------------------------------------------------------------------------------

    def _present(self) -> Token:
        if self._tokens is not self._access.tokens:
            self._look_up()
        return self._grant

    def _look_up(self) -> None:
        tokens = self._tokens = self._access.tokens
        grant: Token | None
        if tokens is None:
            grant = NOBODY_KNOWN if self._hashes else EVERYBODY
        elif self._hashes:
            grant = tokens.of_hash(self._hashes[0]) if len(self._hashes) == 1 else None
        else:
            grant = tokens.of_certificate(self.client.certificate) or tokens.anonymous
        grant = self._grant = grant or NOBODY_KNOWN
        self._read = _EVERY_KEY if grant.admin else grant.read
        self._write = _EVERY_KEY if grant.admin else grant.write

    def _refusal(self, right: str, of_what: str) -> AccessError:
        error = self._error(right, of_what)
        what = self.asked or f"{right} {of_what}"
        self._access.audit.refused(self.name, self.client.address, what, error.status)
        return error

    def _error(self, right: str, of_what: str) -> AccessError:
        if len(self._hashes) > 1:
            return AccessError(
                400, "two different tokens are sent with one request", f"choose one; {SEND_HINT}"
            )
        if self._tokens is None:
            return AccessError(
                501,
                "a token is sent, and this node has no tokens: it means nothing here",
                "nothing was done; start the node with --tokens FILE, or send no token",
            )
        needed = f"the right {right!r}"
        if self._grant is NOBODY_KNOWN:
            return self._stranger_error(needed)
        needed += f" for {of_what}" if of_what else ""
        if self._grant.name == ANONYMOUS:
            return self._stranger_error(needed)
        return AccessError(
            403,
            f"{self._grant.name} lacks {needed}",
            "use another token, or give this one the right in the tokens file of each node",
            f'{CHALLENGE}, error="insufficient_scope"\r\n',
        )

    def _stranger_error(self, needed: str) -> AccessError:
        certificate = self.client.certificate
        if self._hashes:
            return AccessError(
                401,
                f"this token is not known here; {needed} is needed",
                "each node has its own tokens file, and `kvgossip doctor` names those that differ",
                f'{CHALLENGE}, error="invalid_token"\r\n',
            )
        if certificate:
            return AccessError(
                401,
                f"the tokens file has no section for the certificate {shown(certificate)}; "
                f"{needed} is needed",
                f"write one with that name, or send a token; {SEND_HINT}",
                f"{CHALLENGE}\r\n",
            )
        return AccessError(
            401, f"no token is sent; {needed} is needed", SEND_HINT, f"{CHALLENGE}\r\n"
        )
