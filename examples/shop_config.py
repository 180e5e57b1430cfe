"""The configuration of a shop, which all other examples import. It opens nothing until somebody
reads, so it may be imported before a fork, by `manage.py check`, and by tests.

All of them need one node to join, on this machine here:

    kvgossip agent --cluster shop

and a change is one command away:

    kvgossip put shop/theme dark
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from kvgossip import ConfigCache


@dataclass(frozen=True)
class Limits:
    rate: int = 10
    burst: int = 20


config = ConfigCache(
    "shop/",
    cluster="shop",
    join=os.environ.get("SHOP_JOIN", "127.0.0.1:7481"),
    # one machine alone; leave it out where others shall reach this one
    gossip="127.0.0.1:0",
    # with a directory, the last known values are there at the next start, whoever else is up
    data_dir=os.environ.get("SHOP_DATA_DIR", ""),
    defaults={"theme": "light"},
)
limits = config.bind(Limits, "limits/")  # the keys shop/limits/rate and shop/limits/burst
