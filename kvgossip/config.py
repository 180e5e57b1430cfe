"""Every parameter, once: its default, its unit (last in the name), how to choose it, and its bound.

`Config()` is the `lan` profile. The profiles' numbers are memberlist's (protocol.md section 2), so
that operators who know Serf or Consul find the values they know.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kvgossip.errors import ConfigError

GOSSIP_PORT = 7481
HTTP_PORT = 7480
WAN_PORT = 7483
KEY_BYTES = 32
"""The length of a key of a keyring, which is written as twice as many hexadecimal digits."""
KEY_PATTERN = re.compile(r"[0-9A-Fa-f]{64}")
DATAGRAM_BYTES_MIN_SEALED = 1280
NAME_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")


class Address(NamedTuple):
    """Where a socket is. `host` is a DNS name or an IP address, empty where it is not known yet;
    `port` is 0 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int) -> Address:
    """`HOST`, `HOST:PORT`, `:PORT` or `[IPV6]:PORT` as an Address. Raises ConfigError with what to
    write instead."""
    hint = "write HOST:PORT, for example 10.0.0.5:7481 or [::1]:7481"
    found = re.fullmatch(
        r"(?:\[(?P<six>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^\s:\[\]/@]*))(?::(?P<port>\d{1,5}))?",
        text.strip(),
    )
    if found is None or not text.strip():
        raise ConfigError(f"{text!r} is not an address", hint)
    port = int(found["port"]) if found["port"] else default_port
    if port > 65535:
        raise ConfigError(f"{text!r} is not an address: port {port} is over 65535", hint)
    return Address(found["six"] or found["host"] or "", port)


ANYWHERE = Address("0.0.0.0", GOSSIP_PORT)
WAN_ANYWHERE = Address("0.0.0.0", WAN_PORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a node needs to know before it starts. Raises ConfigError when a value is out of its
    bounds."""

    # -- who and where ----------------------------------------------------------------------------
    name: str = ""
    """Unique in the cluster, 1 to 128 letters, digits, `.`, `_`, `-`. Empty: the host's name and
    the gossip port."""
    cluster: str = "default"
    """Nodes of different clusters never talk. Give every cluster its own name, also staging and
    production."""
    datacenter: str = "dc1"
    """The LAN pool this node belongs to. Nodes within one datacenter have the same."""
    zone: str = ""
    """A part of the datacenter, such as a rack or an availability zone: near peers are told
    first."""
    coordinates: tuple[float, ...] = ()
    """Where the node is, in hops of one zone, up to 8 dimensions; used instead of zone and
    datacenter between nodes that have them."""
    gossip: Address = ANYWHERE
    """Where to listen for peers, UDP and TCP. Port 0 takes a free port."""
    advertise: Address | None = None
    """Where peers reach this node. None: the address that the first peer sees, with the gossip
    port."""
    http: Address | None = None
    """The HTTP address that `members` shows to others, None when the node serves none."""
    data_dir: str = ""
    """Where the data is kept on disk, so that it survives the process. One node a directory. Empty:
    in memory only."""
    join: tuple[str, ...] = ()
    """`HOST:PORT` of members to join, DNS names allowed (every record is used). Empty: this node
    founds a cluster."""

    # -- other datacenters ------------------------------------------------------------------------
    gateway: bool = False
    """Whether this node is in the WAN pool too, and carries data between its datacenter and the
    others. Two or three in each."""
    wan: Address = WAN_ANYWHERE
    """Where a gateway listens for gateways, UDP and TCP. Port 0 takes a free port."""
    advertise_wan: Address | None = None
    """Where other gateways reach this one. None: the address that the first of them sees, with the
    WAN port."""
    join_wan: tuple[str, ...] = ()
    """`HOST:PORT` of gateways to join, DNS names allowed. The first datacenter needs none."""
    wan_parameters: tuple[tuple[str, Any], ...] = ()
    """What the WAN pool does otherwise than the wan profile, as (name, value): `probe_interval_s`,
    ... (see WAN_PARAMETERS)."""

    # -- security ---------------------------------------------------------------------------------
    keyring: str | tuple[str, ...] = dataclasses.field(default=(), repr=False)
    """The keys that seal all frames (see protocol/wire/seal.py), the primary one first: the path of
    a file with one of 64 hexadecimal digits in each line, which rotations rewrite; or the keys
    themselves, which rotations change in memory only. Empty: nothing is sealed, and nodes that seal
    are refused."""

    identity: str = ""
    """The file of this node's own key, made at the first start: then its name is refused to all
    others (see protocol/membership/identity.py)."""
    require_identity: bool = False
    """Whether members without an identity are refused. Set it once every node has one."""

    # -- membership (SWIM with Lifeguard) ---------------------------------------------------------
    probe_interval_s: float = 1.0
    """The protocol period. Shorter finds failures sooner and costs more packets. 0.01 to 600."""
    probe_timeout_s: float = 0.5
    """How long to wait for a direct ack before asking others, until round trips are known: then as
    long as the member takes, at least half of this and at most the interval (round_trip.py). Above
    the 99th percentile round trip. Below the interval."""
    indirect_probes: int = 3
    """How many members are asked to probe for us. 0 to 16."""
    suspicion_multiplier: float = 4.0
    """Suspicion lasts at least multiplier * max(1, log10 n) * probe_interval_s. More forgives
    longer pauses. 1 to 100."""
    suspicion_max_multiplier: float = 6.0
    """The longest suspicion, while nobody confirms it, as a multiple of the shortest. 1 to 100."""
    retransmit_multiplier: int = 4
    """Membership news is sent multiplier * ceil(log10(n + 1)) times. 1 to 100."""
    gossip_to_dead_s: float = 30.0
    """How long gossip still goes to a dead member, so that it can refute. 0 to 3600."""
    awareness_max: int = 8
    """How far a node that is slow itself stretches its timeouts. 0 switches it off. 0 to 64."""
    probe_nacks: bool = True
    """Whether helpers are asked to say that they hear nothing, so that a node can tell its own
    slowness from the target's (Lifeguard)."""
    buddy: bool = True
    """Whether what we send to a member that is not alive tells it so first: it can refute the
    sooner (Lifeguard)."""
    forget_after_s: float = 72 * 3600.0
    """A dead member's record is dropped after this time. Longer than any outage you want to come
    back from. 1 to 1 year."""
    members_max: int = 8192
    """Names kept at most: the bound against floods of names. 2 to 100,000."""
    join_retry_s: float = 1.0
    """First pause between attempts at a join address that is no known member; doubles up to 30
    times this. 0.01 to 600."""

    # -- rumor mongering --------------------------------------------------------------------------
    gossip_interval_s: float = 0.2
    """Pause between two rounds of hot rumors. 0.001 to 60."""
    gossip_fanout: int = 3
    """Peers contacted a round. 1 to 64."""
    direct_fanout: int = 16
    """Peers told at once of an own write. Where that is every member, news takes one hop, and the
    others do not forward it; while some member is believed dead, they do at their next round, as
    they may reach it. 1 to 256."""
    rumor_k: int = 3
    """A rumor cools after this many unnecessary contacts. Each more lowers residue about threefold.
    0 sends no rumors. 0 to 64."""
    rumor_mode: str = "push"
    """push: who has news tells it. pull: everybody asks, each interval, also when there is none.
    push-pull: both."""
    rumor_feedback: bool = True
    """A contact counts only if the peer already knew the rumor. False (blind): every contact
    counts."""
    rumor_counter: bool = True
    """A rumor cools after rumor_k contacts that count. False (coin): at each of them with
    probability 1/rumor_k."""
    rumor_connection_limit: int = 0
    """Packets of rumors accepted each gossip interval; more are told that we are busy. 0: any
    number. 0 to 10,000."""
    rumor_hunt: int = 0
    """Other peers tried when one is busy. 0 to 16."""
    rumors_max: int = 8192
    """Hot rumors kept at most; the oldest cool first, and anti-entropy carries them. 1 to
    1,000,000."""

    # -- whom to talk to --------------------------------------------------------------------------
    selection: str = "rank"
    """Of rumors and exchanges: rank or distance prefer near peers (spatial.py), uniform does not.
    Where all are configured alike, measured distances tell them apart (proximity.py)."""
    spatial_exponent: float = 2.0
    """How much near peers are preferred. More spares far links, and makes news slower to cross
    them. 0 to 16."""
    spatial_uniform_share: float = 0.1
    """The share of choices that ignores distance, which keeps the far connected. 0 to 1."""

    # -- anti-entropy -----------------------------------------------------------------------------
    anti_entropy: bool = True
    """Whether to repair by exchanges. Off only to measure rumors by themselves."""
    push_pull_interval_s: float = 30.0
    """An exchange with a random peer at least this often. 0.05 to 3600."""
    rumor_settling_s: float = 2.0
    """Roots must differ this long before an exchange starts, so that rumors get their chance. 0 to
    600."""
    exchange_timeout_s: float = 10.0
    """An exchange without progress for so long is cut; the next one continues. 0.1 to 600."""
    digest_levels: int = 4
    """Depth of the digest tree, fan-out 16. 4 suits a million keys (0.6 MB empty); peers may
    differ. 1 to 4."""

    # -- limits -----------------------------------------------------------------------------------
    datagram_bytes_max: int = 1400
    """Largest UDP payload: below the path MTU. 1232 (IPv6 everywhere, and the longest key; sealed:
    1280) to 65507."""
    message_bytes_max: int = 256 * 1024
    """Largest message of an exchange, but for one entry that is larger alone. 128 KiB to 16 MiB."""
    value_bytes_max: int = 1024 * 1024
    """Largest value. Every node holds every value in memory. 1 to 64 MiB."""
    source_datagrams_per_s: float = 20_000.0
    """Datagrams taken from one address; two seconds of them at once. Above what a node can work
    off, so that only floods meet it; every node behind one address counts. 10 to 10,000,000."""
    source_links_per_s: float = 200.0
    """New TCP links taken from one address; those of two seconds at once. 1 to 1,000,000."""
    clock_drift_max_s: float = 10.0
    """A version further ahead of this node's clock than this is refused. 0.1 to 3600."""
    watch_events_max: int = 10_000
    """Changes that wait for one slow watcher before it is cut off. 1 to 10,000,000."""
    watchers_max: int = 16_384
    """Streams and polls of /watch at a time; one more is answered with 503. Each is an open file. 1
    to 1,000,000."""
    feed_changes_max: int = 32_768
    """Changes that are kept for watchers that come back: the longest absence without a resync. 150
    B each. 1 to 10,000,000."""
    feed_bytes_max: int = 32 * 1024 * 1024
    """Bytes of records that those changes hold at most. 64 KiB to 16 GiB."""

    # -- HTTP -------------------------------------------------------------------------------------
    http_connections_max: int = 1000
    """Connections of clients at a time; one more is answered with 503. Leave some of the process's
    files to links. 1 to 100,000."""
    http_head_bytes_max: int = 16 * 1024
    """Longest head of a request: its line and headers. 4 KiB (the longest key, percent-encoded) to
    1 MiB."""
    http_head_timeout_s: float = 10.0
    """How long the head of a request may take, from its first byte. 0.05 to 600."""
    http_body_timeout_s: float = 30.0
    """How long a body may take, beyond its length at 16 KiB/s; and how long a client may take none
    of what is sent to it. 0.05 to 3600."""
    http_idle_timeout_s: float = 75.0
    """A connection on which nothing is asked for so long is closed. Longer than a proxy in front
    keeps it. 0.05 to 86,400."""

    # -- history ----------------------------------------------------------------------------------
    history_versions: int = 8
    """Versions of a key, with the present one, that this node remembers. 0: none but the present
    one, and no history. 0 to 1000."""
    history_bytes_max: int = 16 * 2**20
    """Memory for earlier versions, of all keys together; what has not changed for longest goes
    first. 0 to 16 GiB."""

    def __post_init__(self) -> None:
        for field, (low, high) in _BOUNDS.items():
            value = getattr(self, field)
            if not low <= value <= high or not math.isfinite(value):
                raise ConfigError(f"{field} = {value} is out of bounds", f"choose {low} to {high}")
        for field in ("name", "cluster", "datacenter"):
            value = getattr(self, field)
            if not (NAME_PATTERN.fullmatch(value) or (field == "name" and not value)):
                raise ConfigError(
                    f"{field} = {value!r} is not a name",
                    "use 1 to 128 letters, digits, '.', '_', '-', with a letter or digit at both "
                    "ends",
                )
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise ConfigError(
                    f"{field} = {getattr(self, field)!r} is unknown",
                    f"choose one of {', '.join(choices)}",
                )
        if self.zone and (len(self.zone) > 64 or not NAME_PATTERN.fullmatch(self.zone)):
            raise ConfigError(
                f"zone = {self.zone!r} is not a name",
                "use up to 64 letters, digits, '.', '_' and '-'",
            )
        if len(self.coordinates) > 8 or not all(
            math.isfinite(number) for number in self.coordinates
        ):
            raise ConfigError(
                f"coordinates = {self.coordinates} are not a place", "give up to 8 finite numbers"
            )
        if self.probe_timeout_s >= self.probe_interval_s:
            raise ConfigError(
                f"probe_timeout_s = {self.probe_timeout_s} is not below probe_interval_s = "
                f"{self.probe_interval_s}",
                "an indirect probe needs the rest of the interval",
            )
        self._check_security()
        for target in self.join:
            parse_address(target, GOSSIP_PORT)
        for target in self.join_wan:
            parse_address(target, WAN_PORT)
        if self.join_wan and not self.gateway:
            raise ConfigError(
                "join_wan is for gateways, and this node is none",
                "set gateway too (--gateway), or leave join_wan out",
            )
        if self.gateway or self.wan_parameters:
            wan_config(self)

    def _check_security(self) -> None:
        if not isinstance(self.keyring, str) and not all(
            KEY_PATTERN.fullmatch(key) for key in self.keyring
        ):
            # which one it is and how it looks is nobody's business
            raise ConfigError(
                "keyring has a key that is not 64 hexadecimal digits",
                "`kvgossip keygen` makes one, in a file to name here",
            )
        if self.require_identity and not self.identity:
            raise ConfigError(
                "require_identity is set, and this node has no identity itself",
                "name the file of one with --identity",
            )
        if self.keyring and self.datagram_bytes_max < DATAGRAM_BYTES_MIN_SEALED:
            raise ConfigError(
                f"datagram_bytes_max = {self.datagram_bytes_max} is too small with a keyring",
                f"choose {DATAGRAM_BYTES_MIN_SEALED} to 65507: a seal needs room, and so does the "
                "longest key",
            )


_CHOICES = {
    "rumor_mode": ("push", "pull", "push-pull"),
    "selection": ("uniform", "distance", "rank"),
}
_BOUNDS: dict[str, tuple[float, float]] = {
    "history_versions": (0, 1000),
    "history_bytes_max": (0, 16 * 2**30),
    "probe_interval_s": (0.01, 600),
    "probe_timeout_s": (0.001, 600),
    "indirect_probes": (0, 16),
    "suspicion_multiplier": (1, 100),
    "suspicion_max_multiplier": (1, 100),
    "retransmit_multiplier": (1, 100),
    "gossip_to_dead_s": (0, 3600),
    "awareness_max": (0, 64),
    "forget_after_s": (1, 366 * 86400),
    "members_max": (2, 100_000),
    "join_retry_s": (0.01, 600),
    "gossip_interval_s": (0.001, 60),
    "gossip_fanout": (1, 64),
    "direct_fanout": (1, 256),
    "rumor_k": (0, 64),
    "rumor_connection_limit": (0, 10_000),
    "rumor_hunt": (0, 16),
    "rumors_max": (1, 1_000_000),
    "spatial_exponent": (0, 16),
    "spatial_uniform_share": (0, 1),
    "push_pull_interval_s": (0.05, 3600),
    "rumor_settling_s": (0, 600),
    "exchange_timeout_s": (0.1, 600),
    "digest_levels": (1, 4),
    "datagram_bytes_max": (1232, 65507),
    "message_bytes_max": (128 * 1024, 16 * 2**20),
    "value_bytes_max": (1, 64 * 2**20),
    "source_datagrams_per_s": (10, 10_000_000),
    "source_links_per_s": (1, 1_000_000),
    "clock_drift_max_s": (0.1, 3600),
    "watch_events_max": (1, 10_000_000),
    "watchers_max": (1, 1_000_000),
    "feed_changes_max": (1, 10_000_000),
    "feed_bytes_max": (64 * 1024, 16 * 2**30),
    "http_connections_max": (1, 100_000),
    "http_head_bytes_max": (4096, 2**20),
    "http_head_timeout_s": (0.05, 600),
    "http_body_timeout_s": (0.05, 3600),
    "http_idle_timeout_s": (0.05, 86_400),
}

_OF_THE_STORE = ("digest_levels", "value_bytes_max", "clock_drift_max_s")
WAN_PARAMETERS = (
    *(
        name
        for name in _BOUNDS
        if name not in _OF_THE_STORE and not name.startswith(("watch", "feed", "http", "history"))
    ),
    *(
        "probe_nacks",
        "buddy",
        "rumor_mode",
        "rumor_feedback",
        "rumor_counter",
        "selection",
        "anti_entropy",
    ),
)
"""What may differ between the pools of a gateway: everything but what belongs to the one store
behind them."""

PROFILES: dict[str, Mapping[str, Any]] = {
    "lan": {},
    "wan": {
        "probe_interval_s": 5.0,
        "probe_timeout_s": 3.0,
        "suspicion_multiplier": 6.0,
        "gossip_interval_s": 0.5,
        "gossip_fanout": 4,
        "gossip_to_dead_s": 60.0,
        "push_pull_interval_s": 60.0,
        "rumor_settling_s": 5.0,
    },
    "local": {
        "probe_timeout_s": 0.2,
        "indirect_probes": 1,
        "suspicion_multiplier": 3.0,
        "retransmit_multiplier": 2,
        "gossip_interval_s": 0.1,
        "gossip_to_dead_s": 15.0,
        "push_pull_interval_s": 15.0,
        "rumor_settling_s": 1.0,
    },
}


def config_from(values: Mapping[str, Any], profile: str = "lan") -> Config:
    """A Config from a profile's name and plain values (of a TOML file, the environment, the command
    line).

    Addresses may be `HOST:PORT` text, numbers may be text, `join` may be a list or text with commas
    or blanks. Raises ConfigError for an unknown profile or name, or a value of the wrong kind.
    """
    if profile not in PROFILES:
        raise ConfigError(f"unknown profile {profile!r}", f"choose one of {', '.join(PROFILES)}")
    merged = dict(PROFILES[profile])
    for name, value in values.items():
        if name not in _FIELDS:
            raise ConfigError(
                f"unknown parameter {name!r}", f"known ones: {', '.join(sorted(_FIELDS))}"
            )
        merged[name] = _coerce(name, value)
    return Config(**merged)


def wan_config(config: Config) -> Config:
    """What the WAN pool of a gateway goes by: the wan profile over `config`, `wan_parameters` over
    that, and addresses of its own.

    Raises ConfigError for a parameter that is out of its bounds, or that cannot differ between
    pools.
    """
    values = dict(PROFILES["wan"])
    for name, value in config.wan_parameters:
        if name not in WAN_PARAMETERS:
            text = f"wan_parameters: {name!r} cannot be set for the WAN pool alone"
            raise ConfigError(text, f"known: {', '.join(sorted(WAN_PARAMETERS))}")
        values[name] = _coerce(name, value)
    addresses: dict[str, Any] = {
        "gossip": config.wan,
        "advertise": config.advertise_wan,
        "join": config.join_wan,
    }
    try:
        return dataclasses.replace(
            config, **values, **addresses, gateway=False, join_wan=(), wan_parameters=()
        )
    except ConfigError as error:
        raise ConfigError(f"wan_parameters: {error}", error.hint) from None


_FIELDS = {field.name: field.default for field in dataclasses.fields(Config)}
_DEFAULT_PORTS = {
    "gossip": GOSSIP_PORT,
    "advertise": GOSSIP_PORT,
    "http": HTTP_PORT,
    "wan": WAN_PORT,
    "advertise_wan": WAN_PORT,
}


def _coerce(name: str, value: Any) -> Any:
    default = _FIELDS[name]
    if name in _DEFAULT_PORTS:
        return (
            value
            if value is None or isinstance(value, Address)
            else parse_address(_expect(name, value, str), _DEFAULT_PORTS[name])
        )
    if name == "wan_parameters":
        return _pairs(name, value)
    if name in ("join", "join_wan"):
        targets = re.split(r"[,\s]+", value) if isinstance(value, str) else value
        if not isinstance(targets, (list, tuple)):
            raise ConfigError(f"{name} = {value!r} is not a list of addresses")
        return tuple(target for target in targets if _expect(name, target, str))
    if name == "keyring":
        if not isinstance(value, str) and not (
            isinstance(value, (list, tuple)) and all(isinstance(key, str) for key in value)
        ):
            raise ConfigError("keyring is neither the path of a file nor a list of keys")
        return value if isinstance(value, str) else tuple(value)
    if name == "coordinates":
        numbers = re.split(r"[,\s]+", value) if isinstance(value, str) else value
        if not isinstance(numbers, (list, tuple)):
            raise ConfigError(f"coordinates = {value!r} is not a list of numbers")
        return tuple(_number(name, number, float) for number in numbers if number != "")
    if isinstance(default, bool):
        return _boolean(name, value)
    if isinstance(default, (int, float)):
        return _number(name, value, type(default))
    return _expect(name, value, str)


def _pairs(name: str, value: Any) -> tuple[tuple[str, Any], ...]:
    """Of a table, of pairs, or of text: `probe_interval_s=2, gossip_interval_s=0.3`."""
    if isinstance(value, str):
        value = [
            tuple(part.strip() for part in text.split("=", 1))
            for text in value.split(",")
            if text.strip()
        ]
    pairs = tuple(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, (list, tuple)) or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
    ):
        raise ConfigError(
            f"{name} = {value!r} is not a table of parameters",
            "write wan_parameters = { probe_interval_s = 2.0 }",
        )
    return tuple((str(parameter), setting) for parameter, setting in pairs)


def _expect(name: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} = {value!r} is not {'text' if kind is str else kind.__name__}")
    return value


def _boolean(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off"):
        return False
    raise ConfigError(f"{name} = {value!r} is not true or false")


def _number(name: str, value: Any, kind: type) -> Any:
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if (
        number is None
        or isinstance(value, bool)
        or (kind is int and isinstance(value, float) and value != number)
    ):
        raise ConfigError(f"{name} = {value!r} is not a {'whole ' if kind is int else ''}number")
    return number
