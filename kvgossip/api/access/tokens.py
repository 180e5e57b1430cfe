"""Tokens: what stands in the file of --tokens, and the way from what a client sends to it.

    [ci]                          the name, which the audit log shows
    hash = "blake2b:..."          of the whole token, 32 bytes long
    read = [""]                   prefixes of keys; "" is every key
    write = ["app/"]
    [ops]
    hash = "blake2b:..."
    admin = true                  all that an operator may do, and with it everything else
    [anonymous]                   who sends no token
    metrics = true                /metrics, /status, /members, /converge, /rtt

Laws
- The file holds no secret, only hashes of 32 random bytes: who reads it may do nothing with it. A
  token is found by its hash, so there is nothing to time, and no text of it is compared.
- A file that does not say plainly who may do what is refused as a whole, with its line: an unknown
  name, a hash twice, a prefix that no key starts with.
- No error repeats what may be a secret.

A section without a hash is that of clients whose TLS certificate has its name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from secrets import token_urlsafe
from typing import Any, NamedTuple, NoReturn

from kvgossip.config.description import did_you_mean, shown
from kvgossip.config.parameters import NAME_PATTERN
from kvgossip.errors import ConfigError, LocalError
from kvgossip.protocol.model.key import check_key

MARK = "kvgossip_"
"""Every token begins so: who finds one, in a log or in a repository, knows what it is."""
TOKEN_BYTES, HASH_BYTES = 32, 32
ANONYMOUS = "anonymous"
_HASH = re.compile(r"blake2b:([0-9a-f]{64})")
_FIELDS = ("hash", "read", "write", "admin", "metrics")
_HINT = "`kvgossip token new NAME --read PREFIX` prints a section; docs/security.md has an example"
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECTION = re.compile(r"""\s*\[\s*(?:"([^"]*)"|'([^']*)'|([^\]\s]+))\s*\]""")


class Token(NamedTuple):
    """A section of the file: a name, and what it may do. `read`, `write`: prefixes of keys."""

    name: str
    hash: bytes = b""
    """Empty for those that no secret stands for."""
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    admin: bool = False
    metrics: bool = False


class Tokens:
    """The sections of one file."""

    def __init__(self, sections: Iterable[Token]) -> None:
        self.by_name = {token.name: token for token in sections}
        self._by_hash = {token.hash: token for token in self.by_name.values() if token.hash}

    @property
    def anonymous(self) -> Token | None:
        """The section of those who show nothing; None: they may do nothing."""
        return self.by_name.get(ANONYMOUS)

    def of_hash(self, hashed: bytes) -> Token | None:
        return self._by_hash.get(hashed)

    def of_certificate(self, name: str) -> Token | None:
        """The section of a client whose certificate has this name."""
        return self.by_name.get(name) if name != ANONYMOUS else None

    @property
    def fingerprint(self) -> str:
        """16 digits, the same for all files that say the same, whatever their order."""
        fingerprint = blake2b(digest_size=8)
        for name in sorted(self.by_name):
            token = self.by_name[name]
            fingerprint.update(repr((*token[:2], sorted(token.read), sorted(token.write))).encode())
            fingerprint.update(repr(token[4:]).encode())
        return fingerprint.hexdigest()


def new_secret() -> str:
    """A token: what a client sends."""
    return MARK + token_urlsafe(TOKEN_BYTES)


def hash_of(secret: bytes) -> bytes:
    return blake2b(secret, digest_size=HASH_BYTES).digest()


def section_of(token: Token) -> str:
    """The text of a section."""
    lines = [f"[{token.name if _BARE.fullmatch(token.name) else _quoted(token.name)}]"]
    lines += [f'hash = "blake2b:{token.hash.hex()}"'] if token.hash else []
    for name in ("read", "write"):
        if prefixes := getattr(token, name):
            lines.append(f"{name} = [{', '.join(map(_quoted, prefixes))}]")
    lines += [f"{name} = true" for name in ("admin", "metrics") if getattr(token, name)]
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """As a string of TOML."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    return f"\\{char}" if char in '"\\' else char if char.isprintable() else f"\\U{ord(char):08x}"


def parse_tokens(text: str, path: str) -> Tokens:
    """Raises ConfigError, which names the line."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # its words repeat no more than a character
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else len(text.splitlines())
        problem = f"line {line} of the tokens file {path}: not valid TOML: {error}"
        raise ConfigError(problem, _HINT) from None
    if not document:
        raise ConfigError(f"line 1 of the tokens file {path}: it has no section", _HINT)
    sections = [_Section(path, text, name, fields).token() for name, fields in document.items()]
    seen: dict[bytes, str] = {}
    for token in sections:
        if token.hash and (first := seen.setdefault(token.hash, token.name)) != token.name:
            _Section(path, text, token.name, {}).refuse(
                "hash", f"it is that of [{first}] too", "make another token with `kvgossip token`"
            )
    return Tokens(sections)


class _Section:
    """One section as it is being read."""

    def __init__(self, path: str, text: str, name: str, fields: Any) -> None:
        self._path, self._text, self._name, self._fields = path, text, name, fields

    def token(self) -> Token:
        name, fields = self._name, self._fields
        if not isinstance(fields, dict):
            self.refuse("", f"{shown(name)} stands outside of all sections", _HINT)
        for field, value in fields.items():
            if isinstance(value, dict):
                self._name = f"{name}.{field}"
                hint = f'write ["{self._name}"], with quotation marks'
                self.refuse("", f"a section within the section [{name}]", hint)
            if field not in _FIELDS:
                problem = f"[{name}] has an unknown {shown(field)}{did_you_mean(field, _FIELDS)}"
                self.refuse(field, problem, f"a section may have {', '.join(_FIELDS)}")
        if not NAME_PATTERN.fullmatch(name):
            self.refuse("", f"{shown(name)} is no name", "use letters, digits, '.', '_', '-'")
        token = Token(
            name,
            self._hash(fields),
            self._prefixes("read"),
            self._prefixes("write"),
            self._switch("admin"),
            self._switch("metrics"),
        )
        if name == ANONYMOUS and (token.hash or token.admin):
            field = "hash" if token.hash else "admin"
            self.refuse(field, f"[{ANONYMOUS}], who sends no token, cannot have {field}", _HINT)
        return token

    def _hash(self, fields: Mapping[str, Any]) -> bytes:
        if "hash" not in fields:
            return b""
        found = _HASH.fullmatch(fields["hash"]) if isinstance(fields["hash"], str) else None
        if found is None:
            hint = (
                'write "blake2b:" and 64 hexadecimal digits, as `kvgossip token new` prints them; '
                "if that was the token itself, make another one"
            )
            self.refuse("hash", f"the hash of [{self._name}] is none", hint)
        return bytes.fromhex(found[1])

    def _prefixes(self, field: str) -> tuple[str, ...]:
        prefixes = self._fields.get(field, [])
        if not isinstance(prefixes, list) or not all(isinstance(each, str) for each in prefixes):
            problem = f"{field} of [{self._name}] is not a list of prefixes"
            self.refuse(field, problem, f'write {field} = ["app/", "config/"]; [""] is every key')
        for prefix in prefixes:
            try:
                check_key(f"{prefix}x")
            except LocalError as error:
                problem = f"{field} of [{self._name}]: no key starts with {shown(prefix)}: {error}"
                self.refuse(field, problem, "a key has no slash at its begin")
        return tuple(prefixes)

    def _switch(self, field: str) -> bool:
        value = self._fields.get(field, False)
        if not isinstance(value, bool):
            problem = f"{field} of [{self._name}] is neither true nor false"
            self.refuse(field, problem, f"write {field} = true")
        return value

    def refuse(self, field: str, problem: str, hint: str) -> NoReturn:
        line = _line_of(self._text, self._name, field)
        raise ConfigError(f"line {line} of the tokens file {self._path}: {problem}", hint)


def _line_of(text: str, section: str, field: str) -> int:
    """Where the field of a section stands, or the section, or a name outside of all of them."""
    found = 1
    for number, name, line in _lines(text):
        if not name and line.lstrip().startswith(section):
            return number
        if name == section and line.lstrip().startswith("["):
            found = number
        elif name == section and field and line.lstrip(" \t\"'").startswith(field):
            return number
    return found


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Each line with its number, and the section that it belongs to."""
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _SECTION.match(line):
            name = next((each for each in header.groups() if each), "")
        yield number, name, line
