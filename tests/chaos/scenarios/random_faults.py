"""Random faults under load, alone and together"""

from __future__ import annotations

import asyncio
from random import Random

from ..cluster import cluster
from ..judge import judge
from ..lo_net import LoNet
from ..load import Load, Mix
from ..nemesis import SETS, Nemesis
from ..scenario import OptionError, Result, scenario
from ..tun_net import TunNet

LARGE_BYTES = 200_000


@scenario()
async def jepsen(
    kinds: str = "everything",
    seconds: float = 60.0,
    seed: int = 1,
    count: int = 5,
    data: bool = True,
    profile: str = "local",
    large: bool = False,
    ttl: bool = False,
    tun: bool = False,
    mtu: int = 0,
    pause: float = 0.05,
    strict: bool = False,
    sealed: bool = False,
) -> Result:
    """Random faults under load, then everything is healed and judged.

    kinds: partitions, pauses, kills, everything, memory-kills, rolling, all-at-once, weather (with
    tun=1). data=0: without data directories, where what one node had alone is lost with it;
    strict=1: not even then may anything be lost, as in a rolling restart. tun=1: packets pass a
    router, which has weather. mtu: of all links. pause: seconds between two writes on a node.
    """
    if kinds not in SETS or (kinds == "weather") != tun:
        raise OptionError(f"kinds is one of {', '.join(SETS)}; weather, and it alone, has tun=1")
    with TunNet(count, seed) if tun else LoNet(count) as net:
        if mtu:
            net.mtu(mtu)
        async with cluster(net, f"jepsen-{kinds}-{seed}") as made:
            args = made.keyring() if sealed else []
            made.add_all(count, data=data, profile=profile, args=args)
            await made.start_all()
            mix = Mix(pause_s=pause, ttl=ttl, large_bytes=LARGE_BYTES if large else 0)
            load = Load(made.agents, seed, mix)
            load.start()
            nemesis = Nemesis(made, net, Random(seed), kinds)
            await nemesis.run(seconds)
            await nemesis.end()
            await asyncio.sleep(1)
            await load.stop()
            result = await judge(load, made.agents, lossy=not data and not strict)
            facts = {"faults_made": dict(nemesis.done), "bugs": made.bugs()}
            return {**result, **facts, "folder": str(made.folder)}
