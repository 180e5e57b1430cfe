"""Tokens for tests: a file, and the secrets behind its sections."""

from __future__ import annotations

from pathlib import Path

from kvgossip.api.access.token_file import add_section
from kvgossip.api.access.tokens import ANONYMOUS, Token, hash_of, new_secret

KINDS = {
    "reader": Token("reader", read=("app/",)),
    "writer": Token("writer", write=("app/",)),
    "metrics": Token("metrics", metrics=True),
    "admin": Token("admin", admin=True),
}


def make_tokens(path: Path, *sections: Token) -> dict[str, str]:
    """A file with these sections; returns the secret of each by its name."""
    path.unlink(missing_ok=True)
    secrets = {}
    for section in sections:
        if section.name == ANONYMOUS:
            add_section(str(path), section)
            continue
        secret = secrets[section.name] = new_secret()
        add_section(str(path), section._replace(hash=hash_of(secret.encode())))
    return secrets
