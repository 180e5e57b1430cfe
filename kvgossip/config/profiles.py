"""The profiles: sets of defaults for a network of a kind.

The numbers are memberlist's (protocol.md section 2), so that operators who know Serf or Consul find
the values they know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROFILES: dict[str, Mapping[str, Any]] = {
    "lan": {},
    "wan": {
        "founding_s": 5.0,
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
        "founding_s": 0.0,
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
"""By name, the parameters that differ from the defaults."""
