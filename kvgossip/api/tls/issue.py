"""Makes a CA, and certificates of it, for trials and small clusters: `kvgossip tls new`.

Laws
- Nothing is overwritten: a key that is gone is gone for all who trust it.
- Files are for their owner alone, whatever the umask; all of one call are there, or none.
- A certificate of a node is none of a client, and the other way round: who steals the one is not
  the other. The CA vouches for these alone, and for no further CA.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kvgossip.api.tls.reading import date
from kvgossip.errors import ConfigError, LocalError
from kvgossip.extras import require

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

DAYS, DAYS_MAX, CA_DAYS = 365, 3650, 3650
CLOCKS_APART = timedelta(hours=1)
"""A certificate holds from so long before it was made: the clock of another machine may be
behind."""
CA_NAME = "ca"
_COMMON_NAME_MAX = 64


class Made(NamedTuple):
    """One certificate, and where it and its key are."""

    name: str
    cert: str
    key: str
    not_after: str


class Authority(NamedTuple):
    certificate: Certificate
    key: EllipticCurvePrivateKey


def make(
    directory: Path, hosts: Sequence[str], clients: Sequence[str], days: int, now: datetime
) -> list[Made]:
    """The certificates of one call: the CA where there is none in `directory`, one for a node at
    all of these `hosts`, names and addresses, and one for each of the `clients`.

    Raises ConfigError where that cannot be, LocalError where a file exists already.
    """
    require("cryptography", "kvgossip tls")
    until = now + timedelta(days=days)
    here = [directory / f"{CA_NAME}.{end}" for end in ("pem", "key")]
    made: dict[str, Authority] = {}
    if any(path.exists() for path in here):
        authority = _read_authority(*here)
    else:
        authority = made[CA_NAME] = _new_authority(now, until)
    until = min(until, authority.certificate.not_valid_after_utc)
    if until <= now:
        raise ConfigError(
            f"the CA in {directory} expired on {date(until.timestamp())}", "name a new directory"
        )
    if hosts:
        _add(made, _file_name(hosts[0]), _for_node(authority, hosts, now, until))
    for name in clients:
        _add(made, _file_name(name), _for_client(authority, name, now, until))
    _write(directory, {name: _pem(each) for name, each in made.items()})
    return [_shown(directory, name, each.certificate) for name, each in made.items()]


def _add(made: dict[str, Authority], name: str, issued: Authority) -> None:
    if name in made or name == CA_NAME:
        raise LocalError(
            f"two certificates would have the name {name}", "give each host and client its own"
        )
    made[name] = issued


def _shown(directory: Path, name: str, certificate: Certificate) -> Made:
    until_s = certificate.not_valid_after_utc.timestamp()
    return Made(name, str(directory / f"{name}.pem"), str(directory / f"{name}.key"), date(until_s))


# -- certificates ---------------------------------------------------------------------------------


def _new_authority(now: datetime, until: datetime) -> Authority:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    # its own name: many trust several of them, and know them apart by it
    name = _name(f"kvgossip CA {x509.random_serial_number():040x}"[:28])
    builder = _builder(name, key, now, max(until, now + timedelta(days=CA_DAYS)))
    builder = builder.issuer_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return Authority(_signed(builder, key), key)


def _for_node(
    authority: Authority, hosts: Sequence[str], now: datetime, until: datetime
) -> Authority:
    from cryptography.x509 import DNSName, GeneralName, IPAddress
    from cryptography.x509.oid import ExtendedKeyUsageOID

    names: list[GeneralName] = []
    for host in hosts:
        try:
            names.append(IPAddress(ip_address(host.strip("[]"))))
        except ValueError:
            names.append(DNSName(_checked(host)))
    return _issue(authority, hosts[0], names, ExtendedKeyUsageOID.SERVER_AUTH, now, until)


def _for_client(authority: Authority, name: str, now: datetime, until: datetime) -> Authority:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    return _issue(authority, name, [], ExtendedKeyUsageOID.CLIENT_AUTH, now, until)


def _issue(
    authority: Authority, name: str, names: Sequence[Any], use: Any, now: datetime, until: datetime
) -> Authority:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), key, now, until)
    builder = builder.issuer_name(authority.certificate.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Authority(_signed(builder, authority.key), key)


def _builder(name: Any, key: EllipticCurvePrivateKey, now: datetime, until: datetime) -> Any:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _signed(builder: Any, key: EllipticCurvePrivateKey) -> Any:
    from cryptography.hazmat.primitives.hashes import SHA256

    return builder.sign(key, SHA256())


def _usage(**given: bool) -> Any:
    from cryptography import x509

    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


def _name(text: str) -> Any:
    from cryptography import x509

    attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, text[:_COMMON_NAME_MAX])
    return x509.Name([attribute])


def _checked(host: str) -> str:
    """A name of DNS, in the letters that it has on the wire."""
    try:
        name = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        name = ""
    letters = name.removeprefix("*.").replace("-", "").replace(".", "").replace("_", "")
    if not letters.isalnum() or len(name) > 253:
        raise ConfigError(
            f"{host!r} is no name of a host, and no address",
            "write --host kv1.example, without a scheme or a port",
        )
    return name


def _file_name(name: str) -> str:
    """Of the certificate of this host or client."""
    plain = "".join(each if each.isalnum() or each in "._-" else "_" for each in name).strip(".")
    if not plain or len(name) > _COMMON_NAME_MAX or not name.isprintable():
        raise ConfigError(
            f"{name!r} is no name for a certificate",
            f"choose up to {_COMMON_NAME_MAX} letters and digits",
        )
    return plain


# -- files ----------------------------------------------------------------------------------------


def _read_authority(cert: Path, key: Path) -> Authority:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        secret = load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        raise ConfigError(
            f"cannot read the CA: {error.filename}: {error.strerror}",
            "both files of it are needed, ca.pem and ca.key; or name a new directory",
        ) from None
    except (ValueError, TypeError):
        raise ConfigError(
            f"the CA in {cert.parent} is none of `kvgossip tls new`", "name a new directory"
        ) from None
    own = secret.public_key()
    if not isinstance(secret, ec.EllipticCurvePrivateKey) or own != certificate.public_key():
        raise ConfigError(f"{key} does not belong to {cert}", "name a new directory")
    return Authority(certificate, secret)


def _pem(issued: Authority) -> tuple[bytes, bytes]:
    """The certificate, and its key."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return (
        issued.certificate.public_bytes(Encoding.PEM),
        issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _write(directory: Path, files: Mapping[str, tuple[bytes, bytes]]) -> None:
    written: list[Path] = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, contents in files.items():
            for end, content in zip(("pem", "key"), contents, strict=True):
                path = directory / f"{name}.{end}"
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                number = os.open(path, flags, 0o600)
                written.append(path)
                with open(number, "wb") as file:
                    os.fchmod(number, 0o600)
                    file.write(content)
                    file.flush()
                    os.fsync(number)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        if isinstance(error, FileExistsError):
            raise LocalError(
                f"{error.filename} exists already",
                "nothing was written: move it away, or name a new directory",
            ) from None
        raise ConfigError(
            f"cannot write {error.filename}: {error.strerror}",
            "name a directory that you may write to",
        ) from None


def utc_now() -> datetime:
    return datetime.now(UTC)
