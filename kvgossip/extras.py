"""Packages that only some nodes need: `pip install 'kvgossip[EXTRA]'` brings them, and they are
imported where they are used. A missing one is one line that names its extra.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from kvgossip.errors import ConfigError

EXTRAS = {
    "rocksdict": "disk",
    "cryptography": "sealed",
    "typer": "cli",
    "rich": "cli",
    "prometheus_client": "metrics",
    "matplotlib": "sim",
    "openfeature": "openfeature",
    "pydantic_settings": "pydantic",
    "django": "django",
    "constance": "constance",
    "dynaconf": "dynaconf",
}
"""The extra that brings a package, by the name under which the package is imported."""

INDEX_NAMES = {"openfeature": "openfeature-sdk", "constance": "django-constance"}
"""What an index calls a package, where that is another name."""


class MissingPackageError(ConfigError):
    """A package is not installed that this node, by its configuration, or this command needs."""


def require(package: str, purpose: str) -> None:
    """Import a package of EXTRAS. Raises MissingPackageError where it is not installed.

    `purpose` is the subject of the sentence that an operator reads: "a data directory".
    """
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:  # it is there, and something that it needs is not
            raise
        text = f"{purpose} needs the package {index_name(package)}, which is not installed"
        raise MissingPackageError(text, f"pip install 'kvgossip[{EXTRAS[package]}]'") from None


def index_name(package: str) -> str:
    """What an index calls the package that is imported as this."""
    return INDEX_NAMES.get(package, package.replace("_", "-"))


NODES = {
    "disk": ("rocksdict", "it cannot keep its data in a data directory"),
    "sealed": ("cryptography", "it can have neither a keyring nor an identity"),
    "metrics": ("prometheus_client", "nobody can scrape its /metrics"),
    "fast": ("numpy", "bulk loads and many writes a second cost it more CPU"),
}
"""The extras that a node itself uses: the package of each, and what its absence costs."""


def installed() -> tuple[str, ...]:
    """Those of NODES that are installed; nothing is imported."""
    return tuple(extra for extra, (package, _) in NODES.items() if find_spec(package) is not None)
