"""Pools: everything of one gossip pool put together, and the pools of a replica."""
