"""Every parameter, declared once: its type, bounds, default, and how to choose it.

The annotations are read by msgspec, which converts and checks values by them, and by everything
that describes parameters: error messages, `--help`, docs/configuration.md, the JSON schema. So this
module has no `from __future__ import annotations`: its annotations are objects. The unit of a
number is the end of its name (`_s`, `_per_s`, `_bytes_max`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from kvgossip.config.address import (
    ANYWHERE,
    GOSSIP_PORT,
    HTTP_PORT,
    WAN_ANYWHERE,
    WAN_PORT,
    Address,
)

KEY_BYTES = 32
"""The length of a key of a keyring, which is written as twice as many hexadecimal digits."""
KEY_PATTERN = re.compile(r"[0-9A-Fa-f]{64}")
KEY_LIKE = re.compile(r"[0-9A-Fa-f]{56}")
"""Text that has so many digits in a row is a key, perhaps one that lost its end, and no name."""
NAME_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")

# `$(?!\n)` is the very end of a text, to Python as to the readers of a JSON schema.
_NAME = rf"^{NAME_PATTERN.pattern}$(?!\n)"
_NAME_OR_EMPTY = rf"^({NAME_PATTERN.pattern})?$(?!\n)"
_MARKS = "letters, digits, '.', '_', '-', with a letter or digit at both ends"
_TEXT_NAME = {"kind": "a name", "takes": f"1 to 128 {_MARKS}"}
_TEXT_TARGETS = {
    "kind": "a list of addresses",
    "takes": "a list of HOST:PORT, or text with commas or blanks between them",
}

# The sections of the parameters. A parameter that is `per_pool` may have another value in the WAN
# pool of a gateway (`wan_parameters`); those of the one store behind both pools may not. One that
# is a node's `own` is no concern of the others; the rest should be alike on all members.
PLACE = Meta(extra={"section": "Name and addresses", "own": True})
DATACENTERS = Meta(extra={"section": "Other datacenters", "own": True})
SECURITY = Meta(extra={"section": "Security"})
SWIM = Meta(extra={"section": "Membership: SWIM with Lifeguard", "per_pool": True})
RUMORS = Meta(extra={"section": "Rumor mongering", "per_pool": True})
SELECTION = Meta(extra={"section": "Selection of peers", "per_pool": True})
REPAIR = Meta(extra={"section": "Anti-entropy", "per_pool": True})
LIMITS = Meta(extra={"section": "Limits", "per_pool": True})
STORE = Meta(extra={"per_pool": False})
OWN = Meta(extra={"own": True})
HTTP = Meta(extra={"section": "HTTP"})
HISTORY = Meta(extra={"section": "History"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The declarations, without the checks that need more than one value; see Config for those."""

    # One parameter is one short statement: the formatter would make nine lines of each.
    # fmt: off
    name: Annotated[str, PLACE, Meta(pattern=_NAME_OR_EMPTY, extra=_TEXT_NAME, description=
        "The node's name, unique in the cluster. Empty: the name of the host and the gossip "
        "port.")] = ""
    cluster: Annotated[str, PLACE, Meta(pattern=_NAME, extra=_TEXT_NAME, description=
        "The cluster's name. Nodes of different clusters refuse each other. Give every cluster "
        "its own name, also staging and production.")] = "default"
    datacenter: Annotated[str, PLACE, Meta(pattern=_NAME, extra=_TEXT_NAME, description=
        "The LAN pool that this node belongs to. All nodes within one datacenter have the "
        "same.")] = "dc1"
    zone: Annotated[str, PLACE, Meta(pattern=_NAME_OR_EMPTY, max_length=64, description=
        "A part of the datacenter, such as a rack or an availability zone: rumors and exchanges "
        "prefer peers of the same zone. Empty: none.",
        extra={"kind": "a name", "takes": f"up to 64 {_MARKS}"})] = ""
    coordinates: Annotated[tuple[float, ...], PLACE, Meta(max_length=8, description=
        "The position of the node, in hops of one zone, in up to 8 dimensions. Nodes that have "
        "coordinates use them among each other instead of zone and datacenter.",
        extra={"kind": "a position", "takes": "a list of up to 8 finite numbers"})] = ()
    gossip: Annotated[Address, PLACE, Meta(extra={"port": GOSSIP_PORT}, description=
        "The address to listen on for peers, UDP and TCP. Port 0 takes a free port.")] = ANYWHERE
    advertise: Annotated[Address | None, PLACE, Meta(extra={"port": GOSSIP_PORT}, description=
        "The address at which peers reach this node, if they see another one. Left out: the "
        "address that the first peer sees, with the gossip port.")] = None
    http: Annotated[Address | None, PLACE, Meta(extra={"port": HTTP_PORT}, description=
        "The HTTP address. An agent serves it, by default 127.0.0.1:7480; port 0 takes a free "
        "port. An embedded node only shows it to other members.")] = None
    http_also: Annotated[tuple[str, ...], PLACE, Meta(
        extra={**_TEXT_TARGETS, "takes": "a list of HOST:PORT or unix:PATH", "port": HTTP_PORT},
        description=
        "The addresses that an agent serves HTTP on besides `http`, which members are told: "
        "HOST:PORT, or unix:PATH for a unix socket (mode 0660). `--http` may be given several "
        "times, and `http` may be a list in the file: all but the first of TCP come here. A unix "
        "socket alone leaves no TCP.")] = ()
    data_dir: Annotated[str, PLACE, Meta(extra={"metavar": "DIR"}, description=
        "The directory that keeps the data on disk, so that it survives the process. Every node "
        "needs its own. Empty: the data lives in memory only.")] = ""
    join: Annotated[tuple[str, ...], PLACE, Meta(
        extra={**_TEXT_TARGETS, "port": GOSSIP_PORT}, description=
        "The members to join. DNS names are allowed, and every record of a name is used. "
        "Empty: this node founds a cluster.")] = ()
    founding_s: Annotated[float, PLACE, Meta(ge=0, le=3600, description=
        "The time for which a node that knows nobody waits for somebody who knew an earlier life "
        "of it, before it founds a cluster; and one with a data directory for a settled member. "
        "Where all nodes are new and join each other, they wait ten times as long. `--found` says "
        "that there is nobody.")] = 2.0

    gateway: Annotated[bool, DATACENTERS, Meta(description=
        "A gateway is in the WAN pool too, and carries data between its datacenter and the "
        "others. Two or three in each datacenter are enough.")] = False
    wan: Annotated[Address, DATACENTERS, Meta(extra={"port": WAN_PORT}, description=
        "The address on which a gateway listens for gateways, UDP and TCP. Port 0 takes a free "
        "port.")] = WAN_ANYWHERE
    advertise_wan: Annotated[Address | None, DATACENTERS, Meta(
        extra={"port": WAN_PORT}, description=
        "The address at which other gateways reach this one, if they see another one. Left out: "
        "the address that the first of them sees, with the WAN port.")] = None
    join_wan: Annotated[tuple[str, ...], DATACENTERS, Meta(
        extra={**_TEXT_TARGETS, "port": WAN_PORT}, description=
        "The gateways to join. DNS names are allowed. The first datacenter needs none.")] = ()
    wan_parameters: Annotated[
        Mapping[str, Any] | tuple[tuple[str, Any], ...], DATACENTERS, Meta(extra={
            "kind": "a table of parameters",
            "takes": "a table such as { probe_interval_s = 2.0 }",
        }, description=
        "The parameters that the WAN pool has otherwise than the wan profile. A probe_interval_s "
        "that is not above the profile's probe_timeout_s shortens that too. Config keeps pairs of "
        "name and value.")] = ()

    keyring: Annotated[str | tuple[str, ...], SECURITY, OWN, Meta(extra={
            "kind": "the path of a file, or a list of keys", "secret": True, "metavar": "FILE",
            "problem": "neither the path of a file nor a list of keys",
            "takes": "the path of a file, or a list of keys of 64 hexadecimal digits",
        }, description=
        "The file of the keys that seal all frames: 64 hexadecimal digits in each line, the "
        "primary key first (`kvgossip keygen` makes one). Rotations rewrite it. An embedded node "
        "may get the keys themselves instead, which rotations change in memory only. Empty: "
        "nothing is sealed, and nodes that seal are refused.")] = field(default=(), repr=False)
    identity: Annotated[str, SECURITY, Meta(extra={"metavar": "FILE"}, description=
        "The file of this node's own key, made when it is missing. All other nodes then refuse "
        "its name to anyone else. Empty: none.")] = ""
    tokens: Annotated[str, SECURITY, OWN, Meta(extra={"metavar": "FILE"}, description=
        "The file that says who may do what over HTTP, and by which tokens (`kvgossip token new` "
        "makes one; see docs/security.md). Read again when it changes. Empty: everybody who "
        "reaches HTTP may do everything.")] = ""
    require_identity: Annotated[bool, SECURITY, Meta(description=
        "Members without an identity are refused. Set it once every node has one.")] = False

    probe_interval_s: Annotated[float, SWIM, Meta(ge=0.01, le=600, description=
        "The protocol period. A shorter one finds failures sooner and costs more packets.")] = 1.0
    probe_timeout_s: Annotated[float, SWIM, Meta(ge=0.001, le=600, description=
        "The wait for a direct ack before other members are asked to probe. Once round trips are "
        "known, a member gets as long as it takes, at least half of this and at most the "
        "interval. Choose more than the 99th percentile round trip, and less than "
        "probe_interval_s.")] = 0.5
    indirect_probes: Annotated[int, SWIM, Meta(ge=0, le=16, description=
        "The number of members that are asked to probe for this node. More tell a lost packet "
        "from a dead member better.")] = 3
    suspicion_multiplier: Annotated[float, SWIM, Meta(ge=1, le=100, description=
        "A suspicion lasts at least this times max(1, log10 n) times probe_interval_s. A larger "
        "one forgives longer pauses.")] = 4.0
    suspicion_max_multiplier: Annotated[float, SWIM, Meta(ge=1, le=100, description=
        "The longest suspicion, while nobody confirms it, as a multiple of the shortest.")] = 6.0
    retransmit_multiplier: Annotated[int, SWIM, Meta(ge=1, le=100, description=
        "News of members is sent this times ceil(log10(n + 1)) times. A larger one survives more "
        "loss.")] = 4
    gossip_to_dead_s: Annotated[float, SWIM, Meta(ge=0, le=3600, description=
        "Gossip still goes to a dead member for this time, so that it can refute; and so long, who "
        "hears a write forwards it, since it may reach that member.")] = 30.0
    awareness_max: Annotated[int, SWIM, Meta(ge=0, le=64, description=
        "The most by which a node that is slow itself stretches its timeouts. 0 switches that "
        "off.")] = 8
    probe_nacks: Annotated[bool, SWIM, Meta(description=
        "Members that probe for others are asked to say that they hear nothing, so that a node "
        "can tell its own slowness from the target's (Lifeguard).")] = True
    buddy: Annotated[bool, SWIM, Meta(description=
        "A packet to a member that is not alive says so first, so that it refutes sooner "
        "(Lifeguard).")] = True
    forget_after_s: Annotated[float, SWIM, Meta(ge=1, le=366 * 86400, description=
        "The time for which the others remember this node once it is dead or has left; its record "
        "says so. Until then they look for it, and keep tombstones for it. Choose more than any "
        "outage that it shall come back from.")] = 72 * 3600.0
    ephemeral: Annotated[bool, SWIM, OWN, Meta(description=
        "This node is a worker that does not come back under its name: once it is dead, it is "
        "forgotten after 15 s, where forget_after_s is not less.")] = False
    members_max: Annotated[int, SWIM, Meta(ge=2, le=100_000, description=
        "The most names that are kept: the bound against floods of names. The one that left "
        "longest ago makes room for a new one, then the one that is dead for longest.")] = 8192
    join_retry_s: Annotated[float, SWIM, OWN, Meta(ge=0.01, le=600, description=
        "The first pause between attempts at a join address that is no known member. It doubles "
        "up to 30 times this.")] = 1.0

    gossip_interval_s: Annotated[float, RUMORS, Meta(ge=0.001, le=60, description=
        "The pause between two rounds of hot rumors. A shorter one spreads news sooner, in more "
        "packets.")] = 0.2
    gossip_fanout: Annotated[int, RUMORS, Meta(ge=1, le=64, description=
        "The number of peers that a round contacts.")] = 3
    direct_fanout: Annotated[int, RUMORS, Meta(ge=1, le=256, description=
        "In a cluster of up to so many peers everybody hears an own write from its author at once, "
        "and again until it has confirmed it; the others do not forward it, but at their next "
        "round while some member has just died, as they may reach it. In a larger one an own "
        "write goes to at most 16 peers at once, and spreads from there.")] = 128
    rumor_k: Annotated[int, RUMORS, Meta(ge=0, le=64, description=
        "A rumor cools after this many unnecessary contacts. Each more lowers the residue about "
        "threefold. 0 sends no rumors.")] = 3
    rumor_mode: Annotated[Literal["push", "pull", "push-pull"], RUMORS, Meta(description=
        "With push, a node that has news sends it. With pull, every node asks, each interval, "
        "also when there is none. push-pull does both.")] = "push"
    rumor_feedback: Annotated[bool, RUMORS, Meta(description=
        "A contact counts only if the peer knew the rumor already. False (blind): every contact "
        "counts.")] = True
    rumor_counter: Annotated[bool, RUMORS, Meta(description=
        "A rumor cools after rumor_k contacts that count. False (coin): at each of them with "
        "probability 1/rumor_k.")] = True
    rumor_connection_limit: Annotated[int, RUMORS, Meta(ge=0, le=10_000, description=
        "The packets of rumors that are accepted each gossip interval; the senders of more hear "
        "that this node is busy. 0: any number.")] = 0
    rumor_hunt: Annotated[int, RUMORS, Meta(ge=0, le=16, description=
        "The number of other peers that are tried when one is busy.")] = 0
    rumors_max: Annotated[int, RUMORS, Meta(ge=1, le=1_000_000, description=
        "The most hot rumors that are kept. The oldest cool first, and anti-entropy carries "
        "them.")] = 8192

    selection: Annotated[Literal["uniform", "distance", "rank"], SELECTION, Meta(description=
        "The way in which rumors and exchanges select a peer: rank and distance prefer near peers, "
        "uniform does not. Where all are configured alike, measured round trips tell them "
        "apart.")] = "rank"
    spatial_exponent: Annotated[float, SELECTION, Meta(ge=0, le=16, description=
        "The strength of the preference for near peers. A larger one spares far links, and makes "
        "news slower to cross them.")] = 2.0
    spatial_uniform_share: Annotated[float, SELECTION, Meta(ge=0, le=1, description=
        "The share of choices that ignores distance, which keeps the far connected.")] = 0.1

    anti_entropy: Annotated[bool, REPAIR, Meta(description=
        "Exchanges repair what rumors missed. Switch it off only to measure rumors by "
        "themselves.")] = True
    push_pull_interval_s: Annotated[float, REPAIR, Meta(ge=0.05, le=3600, description=
        "An exchange with a random peer happens at least this often.")] = 30.0
    rumor_settling_s: Annotated[float, REPAIR, Meta(ge=0, le=600, description=
        "The digests of two peers must differ this long before an exchange starts, so that rumors "
        "get their chance.")] = 2.0
    exchange_timeout_s: Annotated[float, REPAIR, Meta(ge=0.1, le=600, description=
        "An exchange without progress for so long is cut; the next one continues.")] = 10.0
    digest_levels: Annotated[int, REPAIR, STORE, OWN, Meta(ge=1, le=4, description=
        "The depth of the digest tree, whose fan-out is 16. 4 suits a million keys (0.6 MB "
        "empty). Peers may differ.")] = 4

    datagram_bytes_max: Annotated[int, LIMITS, Meta(ge=1232, le=65507, description=
        "The largest UDP payload. Choose less than the path MTU; 1232 passes every IPv6 path and "
        "holds the longest key. A keyring needs 1280.")] = 1400
    message_bytes_max: Annotated[int, LIMITS, Meta(ge=128 * 1024, le=16 * 2**20, description=
        "The largest message of an exchange. One entry that is larger goes alone.")] = 256 * 1024
    value_bytes_max: Annotated[int, LIMITS, STORE, Meta(ge=1, le=64 * 2**20, description=
        "The largest value. Every node holds every value in memory, and lacks those that are too "
        "long for it.")] = 1024 * 1024
    store_bytes_max: Annotated[int, LIMITS, STORE, Meta(ge=0, le=2**40, description=
        "The most bytes of records in this node; a write of a client that would make them more is "
        "refused (507). Those of peers are merged all the same. 0: no bound.")] = 0
    source_datagrams_per_s: Annotated[float, LIMITS, Meta(ge=10, le=10_000_000, description=
        "The datagrams that are taken from one address; those of two seconds at once. Choose more "
        "than a node can work off, so that only floods meet it; every node behind one address "
        "counts.")] = 20_000.0
    source_links_per_s: Annotated[float, LIMITS, Meta(ge=1, le=1_000_000, description=
        "The new TCP links that are taken from one address; those of two seconds at "
        "once.")] = 200.0
    source_links_max: Annotated[int, LIMITS, Meta(ge=1, le=100_000, description=
        "The TCP links of one address at a time; one more closes another one of that address. "
        "Choose more than there are nodes behind one address, as behind a NAT.")] = 128
    unfinished_bytes_max: Annotated[int, LIMITS, Meta(ge=2**20, le=16 * 2**30, description=
        "The bytes of frames that have not come to their end, of all links together; with more, "
        "the link that makes least progress is closed. At least 4 of the longest frames are "
        "taken.")] = 64 * 2**20
    clock_drift_max_s: Annotated[float, LIMITS, STORE, Meta(ge=0.1, le=3600, description=
        "A version that is further ahead of this node's clock than this is refused.")] = 10.0
    disk_timeout_s: Annotated[float, LIMITS, STORE, Meta(ge=0.1, le=3600, description=
        "A disk that has not answered a commit for so long hangs: writes that wait for it, and "
        "new ones, are refused with 503 until it answers. Reads, health checks and gossip go on "
        "in either case. Longer bears a disk that stalls now and then, shorter lets clients go "
        "to another node sooner.")] = 5.0
    watch_events_max: Annotated[int, LIMITS, STORE, Meta(ge=1, le=10_000_000, description=
        "The changes that wait for one slow watcher before it is cut off.")] = 10_000
    watchers_max: Annotated[int, LIMITS, STORE, Meta(ge=1, le=1_000_000, description=
        "The most streams and polls of /watch at a time; one more is answered with 503. Each is "
        "an open file.")] = 16_384
    feed_changes_max: Annotated[int, LIMITS, STORE, Meta(ge=1, le=10_000_000, description=
        "The changes that are kept for watchers that come back: they bound the longest absence "
        "without a resync. Each takes 150 B.")] = 32_768
    feed_bytes_max: Annotated[int, LIMITS, STORE, Meta(ge=64 * 1024, le=16 * 2**30, description=
        "The most bytes of records that those changes hold.")] = 32 * 1024 * 1024

    open_http: Annotated[bool, HTTP, Meta(description=
        "Whoever reaches the HTTP address may read and change everything. Without it, and without "
        "tokens, clients of other machines get 403.")] = False
    http_hosts: Annotated[tuple[str, ...], HTTP, OWN, Meta(extra={
        "kind": "a list of names", "takes": "a list of names, or text with commas or blanks"},
        description=
        "The names by which this node is asked over HTTP, beside IP addresses, names of this "
        "network (without a dot, or under .local, .internal, .svc), and those in `http`, "
        "`advertise` and `join`. One that begins with a dot stands for all names under it. Another "
        "Host gets 421, which ends DNS rebinding.")] = ()
    no_ui: Annotated[bool, HTTP, Meta(description=
        "The console at /ui/ is not served. What it shows is behind the same tokens as all "
        "else.")] = False
    tls_cert: Annotated[str, HTTP, Meta(extra={"metavar": "FILE"}, description=
        "The certificate with which an agent serves HTTPS, in PEM format, with its chain behind "
        "it. It is read again when it changes, as key and CA are. Empty: plain HTTP.")] = ""
    tls_key: Annotated[str, HTTP, OWN, Meta(extra={"metavar": "FILE"}, description=
        "The key of that certificate, in PEM format without a password. Empty: it is in the file "
        "of the certificate.")] = ""
    tls_client_ca: Annotated[str, HTTP, Meta(extra={"metavar": "FILE"}, description=
        "The CA of clients, in PEM format: who shows no certificate of it is refused (mTLS). "
        "Empty: clients need none.")] = ""
    http_connections_max: Annotated[int, HTTP, Meta(ge=1, le=100_000, description=
        "The most connections of clients at a time; one more is answered with 503. Leave some of "
        "the process's files to links.")] = 1000
    http_client_connections_max: Annotated[int, HTTP, Meta(ge=1, le=100_000, description=
        "The most connections of one client at a time: of one address, or of one IPv6 network of "
        "64 bits. All who come through a proxy are one client: give it more.")] = 200
    http_client_streams_max: Annotated[int, HTTP, Meta(ge=1, le=1_000_000, description=
        "The most streams of one client at a time, counted like its connections, of which they "
        "are none.")] = 1000
    http_head_bytes_max: Annotated[int, HTTP, Meta(ge=4096, le=2**20, description=
        "The longest head of a request: its line and headers. 4 KiB hold the longest key, "
        "percent-encoded.")] = 16 * 1024
    http_head_timeout_s: Annotated[float, HTTP, Meta(ge=0.05, le=600, description=
        "The head of a request may take this long, from its first byte.")] = 10.0
    http_body_timeout_s: Annotated[float, HTTP, Meta(ge=0.05, le=3600, description=
        "A body may take this long, beyond its length at 16 KiB/s; and a client may take none of "
        "what is sent to it for this long.")] = 30.0
    http_idle_timeout_s: Annotated[float, HTTP, Meta(ge=0.05, le=86_400, description=
        "A connection on which nothing is asked for so long is closed. Choose more than a proxy "
        "in front keeps it.")] = 75.0
    http_answers_bytes_max: Annotated[int, HTTP, Meta(ge=64 * 1024, le=16 * 2**30, description=
        "The most bytes of long answers, such as lists, that wait for clients who take them "
        "slowly; one more is answered with 503. Lists of one prefix at one time count once.")] = (
        256 * 2**20)

    history_versions: Annotated[int, HISTORY, Meta(ge=0, le=1000, description=
        "The versions of a key, with the present one, that this node remembers. 0: only the "
        "present one, and no history.")] = 8
    history_bytes_max: Annotated[int, HISTORY, Meta(ge=0, le=16 * 2**30, description=
        "The memory for earlier versions, of all keys together. Those of the key that has not "
        "changed for longest go first.")] = 16 * 2**20
    # fmt: on
