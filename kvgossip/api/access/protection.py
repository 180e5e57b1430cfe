"""Protected mode: who may ask a node that nobody has opened.

As Redis has it: without tokens, only clients of this machine are served, whatever address the node
listens on. A client at another address of this machine is a stranger too, as in Redis: a forwarded
port looks the same. What answers here with 403 would be open to the whole network.
"""

from __future__ import annotations

from kvgossip.api.access.client import Client
from kvgossip.api.access.refusal import AccessError
from kvgossip.config import Config
from kvgossip.config.exposure import PROTECTED, WAYS_OUT, is_protected


class Protection:
    """That of one node."""

    def __init__(self, config: Config) -> None:
        self._on = is_protected(config)

    def bars(self, client: Client) -> bool:
        return self._on and not client.is_local

    def check(self, client: Client) -> None:
        """Raises AccessError(403)."""
        if self.bars(client):
            raise AccessError(403, f"this node is {PROTECTED}", WAYS_OUT)
