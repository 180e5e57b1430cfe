"""A job: it reads, does its work, and ends, so it is no member. It follows a node over HTTP, with
the standard library alone, and begins with what it saw last where no node answers.

    pip install kvgossip
    python job.py
"""

from __future__ import annotations

import os
import sys

from kvgossip import ConfigCache


def main() -> None:
    config = ConfigCache.follow(
        os.environ.get("SHOP_URL", "http://127.0.0.1:7480"),
        "shop/",
        file=os.environ.get("SHOP_LAST_KNOWN", ""),
        defaults={"theme": "light"},
    )
    with config:
        status = config.status()
        if not status.settled:
            print("nobody answers, this is from", status.source, file=sys.stderr)
        print("theme:", config["theme"])


if __name__ == "__main__":
    main()
