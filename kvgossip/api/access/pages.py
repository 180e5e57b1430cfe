"""Web pages of other origins: what a browser sends on their behalf is refused.

A browser lets any page send requests to 127.0.0.1 without asking, but it says whose they are: by
`Origin` with all that may write, and by `Sec-Fetch-Site` with everything that goes to this machine
or by TLS. A page of another origin gets nothing, be it of another site or another port of
localhost; but a link to here may be followed (a navigation of a whole window, whose page then is
ours). Nor can it see what is read where a browser does not say whose a request is: no answer has
the headers that would let it (CORS), and every one says that it is for its own origin
(`Cross-Origin-Resource-Policy`).
"""

from __future__ import annotations

from collections.abc import Mapping

from kvgossip.api.access.refusal import AccessError

READS = ("GET", "HEAD")
_FOREIGN = ("cross-site", "same-site")
"""Another site, or another origin of this one. `none` is a person's doing."""
_WINDOWS = ("document", "")
"""What a navigation is for, where it is no frame of a page of somebody else."""


def refuse_foreign_page(method: str, headers: Mapping[str, str]) -> None:
    """Raises AccessError(403) where a browser sends this on behalf of another origin."""
    origin = headers.get("Origin")
    foreign = (
        method not in READS
        and origin is not None
        and origin.partition("://")[2].lower() != headers.get("Host", "").lower()
    )
    if foreign or (
        headers.get("Sec-Fetch-Site") in _FOREIGN and not _is_navigation(method, headers)
    ):
        raise AccessError(
            403,
            "this request was sent by a page of another site",
            "commands and writes come from the command line, from programs, or from this address",
        )


def _is_navigation(method: str, headers: Mapping[str, str]) -> bool:
    return (
        method in READS
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest", "") in _WINDOWS
    )
