"""Life: all that a node has open between its start and its stop - the data directory, the sockets
of each pool, and the driver of a replica that has the data of the disk."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from random import Random, SystemRandom
from typing import TYPE_CHECKING, NamedTuple

from kvgossip import __version__
from kvgossip.config import Address, Config, wan_config
from kvgossip.errors import ConfigError
from kvgossip.extras import require
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.frame import frame_bytes_max
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.runtime.changes.publisher import Publisher
from kvgossip.runtime.disk.compaction import Compaction
from kvgossip.runtime.disk.key_files import read_identity, read_keys
from kvgossip.runtime.disk.quarantine import Quarantine
from kvgossip.runtime.driver import Driver
from kvgossip.runtime.host import host
from kvgossip.runtime.network.link_table import LinkLimits
from kvgossip.runtime.network.sockets import ANY_HOSTS
from kvgossip.runtime.network.transport import Transport
from kvgossip.runtime.reads import Reads
from kvgossip.runtime.resident import Resident
from kvgossip.runtime.trend_watch import TrendWatch
from kvgossip.runtime.writes import Writes

if TYPE_CHECKING:
    from kvgossip.runtime.disk.data_dir import DataDir

NAME_CHARACTERS_MAX = 128


class Secrets(NamedTuple):
    """The content of the files of the keyring and of the identity; None where none is named."""

    keyring: Keyring | None
    identity: Identity | None

    @classmethod
    def read(cls, config: Config) -> Secrets:
        path = config.keyring
        return cls(
            read_keys(path) if path and isinstance(path, str) else None,
            read_identity(config.identity) if config.identity else None,
        )


class Life(Resident):
    """Made by `begin`, open until `close`."""

    def __init__(
        self,
        config: Config,
        disk: DataDir | None,
        transports: Mapping[PoolKind, Transport],
        driver: Driver,
        trends: TrendWatch,
        resources: AsyncExitStack,
    ) -> None:
        super().__init__()
        #: with the name of the node and the ports that were taken
        self.config = config
        #: None without a data directory
        self.disk = disk
        self.transports, self.driver, self.trends = transports, driver, trends
        self.writes = writes = Writes(driver)
        shell = driver.replica.shell_report
        shell.software, shell.quarantined = __version__, lambda: driver.quarantine.count
        shell.overload = lambda: writes.overload or ""
        shell.host = lambda: host(disk)
        self.reads = Reads(driver)
        self._resources = resources

    @classmethod
    async def begin(
        cls,
        config: Config,
        *,
        named: bool,
        rebuild: bool,
        found: bool,
        clocks: Callable[[], Now],
        rng: Random | None,
    ) -> Life:
        """Open everything, and begin to join. `named`: the name in `config` is the user's choice;
        otherwise that of an earlier life on the data directory comes first. `rebuild` and `found`
        are Node's. `rng`: None takes that of the operating system: the numbers on the wire, by
        which answers are believed, follow from none that was sent before.

        Raises ConfigError and DataDirError; then nothing is open.
        """
        # first, for a rebuild moves the data aside
        if rebuild and found:
            raise ConfigError(
                "--found says that there is nobody, and --rebuild fetches everything from peers",
                "leave one of them out",
            )
        secrets = Secrets.read(config)
        async with AsyncExitStack() as stack:
            disk = await _take_disk(config, stack, rebuild)
            if disk is not None and disk.name and not named:
                config = replace(config, name=disk.name)
            make = partial(
                Replica,
                rng=rng or SystemRandom(),
                keyring=secrets.keyring,
                identity=secrets.identity,
                rebuilding=rebuild,
                found=found,
            )
            return await cls._open(config, make, disk, stack, clocks)

    @classmethod
    async def _open(
        cls,
        config: Config,
        make: Callable[..., Replica],
        disk: DataDir | None,
        stack: AsyncExitStack,
        clocks: Callable[[], Now],
    ) -> Life:
        """All that is opened here is on the stack at once. `make` is Replica, for whom some
        arguments are known already."""
        transports: dict[PoolKind, Transport] = {}
        stack.push_async_callback(_close_all, transports)
        bound = await _bind(transports, PoolKind.LAN, config)
        config = completed(config, bound.port)
        address, wan_address = reachable(config.advertise, bound), None
        if config.gateway:
            bound = await _bind(transports, PoolKind.WAN, config)
            config = replace(config, wan=Address(config.wan.host, bound.port))
            wan_address = reachable(config.advertise_wan, bound)
        if disk is not None:
            await disk.open(config)
        now = clocks()
        replica = make(
            config,
            address=address,
            wan_address=wan_address,
            now=now,
            saved=disk.facts if disk is not None else None,
        )
        publisher = Publisher(config, replica, now)
        driver = await _driver(config, replica, transports, publisher, disk, stack, clocks)
        for pool, transport in transports.items():
            await transport.serve(
                partial(driver.on_datagram, pool),
                partial(driver.on_frame, pool),
                partial(driver.on_unreachable, pool),
                partial(driver.opener, pool),
            )
        driver.submit(replica.tick)
        trends = TrendWatch(config, driver, disk, (disk.facts if disk is not None else None) or {})
        stack.push_async_callback(trends.close)
        trends.start()
        return cls(config, disk, transports, driver, trends, stack.pop_all())

    @property
    def address(self) -> Address:
        """The address at which peers reach the node; see Node."""
        return self.driver.replica.member.address

    @property
    def wan_address(self) -> Address | None:
        wan = self.driver.replica.pools.wan
        return wan.membership.me.address if wan is not None else None

    async def close(self) -> None:
        """Close everything, complete even when cancelled."""
        await self._resources.aclose()


async def _take_disk(config: Config, stack: AsyncExitStack, rebuild: bool) -> DataDir | None:
    if not config.data_dir:
        if rebuild:
            raise ConfigError(
                "--rebuild is for a data directory, and this node has none",
                "add --data-dir DIR",
            )
        return None
    require("rocksdict", "a data directory")
    # RocksDB is loaded by those who use it
    from kvgossip.runtime.disk.data_dir import DataDir

    disk = await DataDir.take(config, rebuild=rebuild)
    stack.push_async_callback(disk.close)
    return disk


async def _bind(transports: dict[PoolKind, Transport], pool: PoolKind, config: Config) -> Address:
    """Take the sockets of a pool, and tell their address."""
    wanted = config.gossip if pool is PoolKind.LAN else config.wan
    limits = config if pool is PoolKind.LAN else wan_config(config)
    transport = transports[pool] = Transport(
        LinkLimits(
            frame_bytes_max=frame_bytes_max(limits),
            source_links_per_s=limits.source_links_per_s,
            source_links_max=limits.source_links_max,
            unfinished_bytes_max=limits.unfinished_bytes_max,
            answer_timeout_s=limits.exchange_timeout_s,
        )
    )
    return await transport.bind(wanted)


async def _close_all(transports: Mapping[PoolKind, Transport]) -> None:
    await asyncio.gather(*(transport.close() for transport in transports.values()))


async def _driver(
    config: Config,
    replica: Replica,
    transports: Mapping[PoolKind, Transport],
    publisher: Publisher,
    disk: DataDir | None,
    stack: AsyncExitStack,
    clocks: Callable[[], Now],
) -> Driver:
    """A driver whose replica has the data of the disk."""
    if disk is not None:
        await disk.load(replica, clocks, publisher.pack)
        driver = Driver(
            config,
            replica,
            transports,
            publisher,
            commits=disk.commits,
            quarantine=disk.quarantine,
            compaction=disk.compaction,
            clocks=clocks,
        )
    else:
        compaction = Compaction(None, lambda: len(replica.store), config.name, pack=publisher.pack)
        stack.push_async_callback(compaction.close)
        driver = Driver(
            config,
            replica,
            transports,
            publisher,
            commits=None,
            quarantine=Quarantine(None),
            compaction=compaction,
            clocks=clocks,
        )
    stack.push_async_callback(driver.close)
    return driver


def completed(config: Config, port: int) -> Config:
    """With the port that was taken (0: none yet), and with a name as soon as there is a port."""
    port = port or config.gossip.port
    name = config.name or (_default_name(port) if port else "")
    return replace(config, name=name, gossip=Address(config.gossip.host, port))


def _default_name(port: int) -> str:
    """The host's name and the port, as far as they make a name (see NAME_PATTERN)."""
    tail = f"-{port}"
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[
        : NAME_CHARACTERS_MAX - len(tail)
    ].strip("._-")
    return (host or "node") + tail


def reachable(advertised: Address | None, bound: Address) -> Address:
    """The address at which peers reach the node, as far as it knows: an empty host is learned from
    them."""
    if advertised is not None:
        return Address(advertised.host, advertised.port or bound.port)
    return Address("" if bound.host in ANY_HOSTS else bound.host, bound.port)
