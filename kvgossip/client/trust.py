"""Trust: what a client of a node believes, and shows; and what went wrong between them, in
words."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from kvgossip.errors import ConfigError

_EXPIRED, _NOT_YET = 10, 9
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
_WRONG_HOST = (62, 63, 64)
"""Codes of OpenSSL's X509_V_ERR."""
_TLS_CLIENT = (
    "name one of the node's CA with --cert and --cert-key, or KVGOSSIP_CERT and KVGOSSIP_CERT_KEY"
)
_ALERTS = {
    "CERTIFICATE_REQUIRED": ("wants a certificate of its clients", _TLS_CLIENT),
    "UNKNOWN_CA": ("does not know the CA of the certificate of --cert", _TLS_CLIENT),
    "CERTIFICATE_EXPIRED": ("refuses the certificate of --cert: it has expired", "renew it"),
    "CERTIFICATE_UNKNOWN": ("refuses the certificate of --cert", _TLS_CLIENT),
    "BAD_CERTIFICATE": ("refuses the certificate of --cert", _TLS_CLIENT),
    "UNSUPPORTED_CERTIFICATE": (
        "refuses the certificate of --cert: it is none for clients",
        "`kvgossip tls new DIR --client NAME` makes one for trials",
    ),
    "PROTOCOL_VERSION": ("and this client have no version of TLS in common", "update the older"),
    "HANDSHAKE_FAILURE": ("and this client have no cipher in common", "update the older"),
    "INTERNAL_ERROR": ("has too many connections", "close some, or try again in a moment"),
}
"""By the end of the reason, what the node at a URL says with an alert, and what to do."""


class Trust(NamedTuple):
    """Paths of PEM files; empty: none."""

    ca: str = ""
    """Whose certificates are believed, in place of those of the system."""
    cert: str = ""
    """What is shown to a node that asks for it; its key may be in it."""
    key: str = ""

    def context(self) -> ssl.SSLContext | None:
        """None: what holds for everybody on this machine. Raises ConfigError."""
        if not any(self):
            return None
        if self.key and not self.cert:
            raise ConfigError(
                "--cert-key is given without --cert", "name the certificate that it is of"
            )
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"cannot read a CA from {self.ca}: {_reason(error)}",
                "name the PEM file of the CA that made the node's certificate, as ca.pem of "
                "`kvgossip tls new`",
            ) from None
        if self.cert:
            try:
                context.load_cert_chain(self.cert, self.key or None, password="")
            except (ssl.SSLError, OSError) as error:
                raise ConfigError(
                    f"cannot use the certificate in {self.cert} with its key: {_reason(error)}",
                    "name PEM files that belong together; the key has no password",
                ) from None
        return context


EVERYBODYS = Trust()
"""What holds for everybody on this machine."""


def failure(url: str, error: ssl.SSLError) -> tuple[str, str]:
    """What went wrong with the node at this URL, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(url, error)
    reason = error.reason or ""
    for end, (text, hint) in _ALERTS.items():
        if reason.endswith(f"ALERT_{end}"):
            return f"the node at {url} {text}", hint
    return (
        f"what listens at {url} does not speak HTTPS: {_reason(error)}",
        f"if it is a node without --tls-cert, write --url http{url.removeprefix('https')}",
    )


def _distrust(url: str, error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    words, code = error.verify_message, error.verify_code
    if code in _WRONG_HOST:
        return (
            f"the certificate of {url} is for another host: {words}",
            "ask for a name that is in it, or make one for this name too (--host of `kvgossip tls "
            "new`)",
        )
    if code in (_EXPIRED, _NOT_YET):
        return (
            f"the certificate of {url} does not hold now: {words}",
            "renew it, or set the clock of this machine right",
        )
    if code in _UNKNOWN_ISSUER:
        return (
            f"the certificate of {url} is of a CA that is not known here: {words}",
            "name the file of that CA with --ca, or KVGOSSIP_CA",
        )
    return f"the certificate of {url} is not trusted: {words}", "ask whoever runs the node"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return error.strerror or str(error)
