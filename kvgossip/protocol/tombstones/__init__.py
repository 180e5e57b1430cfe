"""Tombstones that stay deleted, and values that expire (protocol.md section 6).

tombstones          refusing what was collected, collecting, expiring
collection          the tombstones and expired entries that wait until they may go
expiry              when entries expire
causal_context      which versions this replica has ever merged
context_difference  what two replicas tell each other of their contexts
"""
