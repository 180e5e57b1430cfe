"""Deletion: the meaning of a seed when deletes are under trial. Few keys, many deletes and values
that expire; hosts with disks that come back after any absence, also after they were forgotten;
machines that are set back, wrong clocks, holes in disks, and liars; one to three datacenters; quick
profiles, so that minutes do for days.

At the end of each run all tombstones must have gone, and then it must be quiet (see
simulation.py).
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from kvgossip.sim.faults import Intensity
from kvgossip.sim.scenario import Options
from kvgossip.sim.workload import Mix

DATACENTERS_MAX = 3
HOLES_CHANCE = 0.2
LIES_A_S = 2.0
QUICK = {
    "probe_interval_s": 0.5,
    "probe_timeout_s": 0.2,
    "suspicion_multiplier": 2.0,
    "suspicion_max_multiplier": 2.0,
    "rumor_settling_s": 0.5,
    "exchange_timeout_s": 2.0,
    "join_retry_s": 0.2,
    "digest_levels": 2,
}


def deletion_options(seed: int) -> Options:
    """The options of this seed's run."""
    rng = Random(f"{seed} deletion")
    datacenters = rng.choice((1, 1, 1, 2, 3))
    nodes = rng.randint(2, 6) + 2 * (datacenters - 1)
    wan = {**QUICK, "push_pull_interval_s": 3.0}
    del wan["digest_levels"]
    parameters = {
        **QUICK,
        "forget_after_s": rng.choice((8.0, 20.0, 60.0)),
        "push_pull_interval_s": rng.choice((1.0, 3.0, 6.0)),
        "rumor_k": rng.choice((0, 1, 3, 3)),
        "rumor_mode": rng.choice(("push", "push", "push", "push-pull")),
        "datagram_bytes_max": 1400,
        "message_bytes_max": 131_072,
        "value_bytes_max": 65_536,
        "wan_parameters": tuple(wan.items()),
    }
    intensity = _intensity(rng)
    if Random(f"{seed} holes").random() < HOLES_CHANCE:
        # somebody must stay who has what a hole takes
        intensity = replace(intensity, hole_share=0.4, wipe_share=0.0, vanish_share=0.0)
    liar = Random(f"{seed} liars").choice(("", "", "", "stranger", "member"))
    return Options(
        nodes=(nodes, nodes),
        intensity=replace(
            intensity,
            stranger_rate=LIES_A_S if liar == "stranger" else 0.0,
            hostile_rate=LIES_A_S if liar == "member" else 0.0,
            glitch_rate=Random(f"{seed} glitches").choice((0.0, 0.0, 0.0, 0.03)),
            set_back_rate=Random(f"{seed} set-backs").choice((0.0, 0.0, 0.02)),
        ),
        duration_s=rng.choice((15.0, 40.0)),
        mix=_mix(rng),
        parameters=parameters,
        datacenters=(datacenters, datacenters),
        durable=rng.random() < 0.8,
    )


def _mix(rng: Random) -> Mix:
    keys = rng.choice((1, 3, 8))
    mix = Mix(
        writes=rng.choice((40, 150)),
        hot_keys=keys,
        hot_share=rng.choice((0.8, 1.0)),
        delete_share=0.4,
        large_bytes=3000,
    )
    return replace(mix, ttl_share=rng.choice((0.0, 0.0, 0.3)), ttl_s_max=rng.choice((3.0, 15.0)))


def _intensity(rng: Random) -> Intensity:
    def perhaps(value: float, chance: float = 0.5) -> float:
        return value if rng.random() < chance else 0.0

    return Intensity(
        loss=perhaps(rng.choice((0.02, 0.1, 0.3))),
        duplicate=perhaps(0.1, 0.2),
        crash_rate=perhaps(rng.choice((0.01, 0.03)), 0.8),
        leave_rate=perhaps(0.01, 0.2),
        rename_share=perhaps(0.2, 0.1),
        vanish_share=perhaps(0.2, 0.2),
        absence_share=perhaps(rng.choice((0.3, 0.8)), 0.7),
        absence_s=rng.choice((10.0, 25.0)),
        wipe_share=perhaps(0.3, 0.3),
        partition_rate=perhaps(rng.choice((0.05, 0.2))),
        pause_rate=perhaps(0.01, 0.3),
        cut_rate=perhaps(0.1, 0.3),
        datacenter_rate=perhaps(0.05),
        clock_skew_ms=perhaps(rng.choice((50.0, 3000.0))),
        clock_drift=perhaps(0.001, 0.2),
    )
