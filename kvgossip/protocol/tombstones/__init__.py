"""Tombstones that stay deleted, and values that expire (protocol.md section 6).

tombstones          refusing entries that were collected, collecting, expiring
collection          the tombstones and expired entries that wait until they may go
expiry              the times at which entries expire
causal_context      the versions that this replica has ever merged
context_difference  the facts that two replicas send each other of their contexts
"""
