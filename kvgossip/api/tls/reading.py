"""One reading of the files of a certificate: the context that serves it, until when it holds, and,
where it cannot be served, why not, in words.

Laws
- A reading is whole or it is none: what is expired, does not fit, or cannot be read raises
  ConfigError, and nobody serves it.
- Nobody is asked for a password: a key that needs one is refused.
- No error shows anything of a key, also where the key itself was given for the name of its file.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from kvgossip.errors import ConfigError
from kvgossip.extras import require

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

FILE_BYTES_MAX = 2**20
PEM = "-----BEGIN"
_HINT = "`kvgossip tls new DIR --host NAME` makes one for trials"
_MISFIT = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")

Signature = tuple[tuple[int, ...], ...]
"""By it a file that has been replaced is known."""


class Files(NamedTuple):
    """Paths of PEM files, those of the parameters `tls_cert`, `tls_key` and `tls_client_ca`. An
    empty `key`: it is in the file of the certificate; an empty `client_ca`: clients need none."""

    cert: str
    key: str = ""
    client_ca: str = ""

    @property
    def given(self) -> list[str]:
        return [path for path in self if path]


class Reading(NamedTuple):
    context: ssl.SSLContext
    names: tuple[str, ...]
    """The hosts that the certificate is for."""
    not_after_s: float
    """When the first certificate of its chain expires, in seconds of Unix time."""
    clients_until_s: float | None
    """When the last CA of clients expires: then none is let in. None: clients need no
    certificate."""
    fingerprint: str
    """SHA-256 of the certificate, in hexadecimal digits."""
    exposed: bool
    """True if everybody may read the file of the key."""


def signature_of(files: Files) -> Signature:
    """Raises ConfigError where a file is not there."""
    found = []
    for path in files.given:
        try:
            seen = os.stat(path)
        except OSError as error:
            raise _unreadable(path, error) from None
        found.append((seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
    return tuple(found)


def read(files: Files, now_s: float) -> Reading:
    """Reads them, and checks them at this time. Raises ConfigError."""
    require("cryptography", "TLS")
    for path in files.given:
        if PEM in path:
            raise ConfigError(
                "this is the content of a PEM file, where its path is expected",
                "name the file; if this was a key, others may have seen it: make another",
            )
    chain = _certificates(files.cert)
    _check_times(files.cert, chain, now_s)
    key, mode = _content(files.key or files.cert)
    if b"PRIVATE KEY-----" not in key:
        hint = "name the file of the key with --tls-key" if not files.key else _HINT
        raise ConfigError(f"there is no private key in {files.key or files.cert}", hint)
    if b"ENCRYPTED" in key:
        raise ConfigError(
            f"the key in {files.key or files.cert} needs a password",
            "nobody is there to be asked: write it without (`openssl pkey -in KEY -out NEW`), for "
            "its owner alone",
        )
    context = _context(files)
    clients_until_s = None
    if files.client_ca:
        clients_until_s = _trust_clients(context, files.client_ca, now_s)
    return Reading(
        context,
        _hosts(chain[0]),
        min(_end_s(each) for each in chain),
        clients_until_s,
        _fingerprint(chain[0]),
        bool(mode & stat.S_IRWXO),
    )


def date(time_s: float) -> str:
    """As people and programs read it: 2027-01-31T12:00:00Z."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _context(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # an empty password: without one OpenSSL would ask whoever sits at the terminal
        context.load_cert_chain(files.cert, files.key or None, password="")
    except ssl.SSLError as error:
        if error.reason in _MISFIT:
            raise ConfigError(
                f"the key in {files.key or files.cert} does not belong to the certificate in "
                f"{files.cert}",
                "name the two that were made together; in a chain the node's own comes first",
            ) from None
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise ConfigError(
            f"OpenSSL does not take the certificate in {files.cert} with its key: {reason}", _HINT
        ) from None
    except OSError as error:
        raise _unreadable(files.cert, error) from None
    return context


def _trust_clients(context: ssl.SSLContext, path: str, now_s: float) -> float:
    """Lets those clients in alone that a CA of this file vouches for; until when that goes."""
    until_s = max(_end_s(each) for each in _certificates(path))
    if until_s <= now_s:
        raise ConfigError(
            f"the CA of clients in {path} expired on {date(until_s)}: no client would be let in",
            "name the file of a newer one",
        )
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"OpenSSL does not take the CA in {path}: {error}", _HINT) from None
    context.verify_mode = ssl.CERT_REQUIRED
    return until_s


def _check_times(path: str, chain: Sequence[Certificate], now_s: float) -> None:
    for each in chain:
        if _end_s(each) <= now_s:
            raise ConfigError(
                f"the certificate in {path} expired on {date(_end_s(each))}{_which(each, chain)}",
                "renew it: clients would refuse it",
            )
        begin_s = each.not_valid_before_utc.timestamp()
        if begin_s > now_s:
            raise ConfigError(
                f"the certificate in {path} holds from {date(begin_s)} on, which is later"
                f"{_which(each, chain)}",
                "is the clock of this machine right?",
            )


def _which(certificate: Certificate, chain: Sequence[Certificate]) -> str:
    if certificate is chain[0]:
        return ""
    return f" (that of {certificate.subject.rfc4514_string()}, in its chain)"


def _certificates(path: str) -> list[Certificate]:
    from cryptography import x509

    data, _ = _content(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigError(
            f"there is no certificate in {path}", f"name a file in PEM format; {_HINT}"
        ) from None


def _content(path: str) -> tuple[bytes, int]:
    """Of a file, with its mode."""
    try:
        # a pipe would be waited for
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(number, "rb") as file:
            mode = os.fstat(number).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{path} is no file", "name a file in PEM format")
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{path} is too long for a certificate", "name a file in PEM format")
    return data, mode


def _unreadable(path: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot read the TLS file {path}: {error.strerror or error}",
        "name a file in PEM format that this user may read",
    )


def _end_s(certificate: Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _fingerprint(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.hashes import SHA256

    return certificate.fingerprint(SHA256()).hex()


def _hosts(certificate: Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return (certificate.subject.rfc4514_string(),)
    return tuple(str(each.value) for each in names)
