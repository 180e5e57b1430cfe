"""Tombstones that stay deleted, and values that expire (protocol.md section 6).

tombstones          refusing entries that were collected, collecting, expiring
drops               what is taken out on another's word
collection          the tombstones and expired entries that wait until they may go
vouching            the word of a gateway for those behind it
expiry              the times at which entries expire
causal_context      the versions that this replica has ever merged
fuse                how many live values one member's word may take out
former_lives        what former lives of this node have left in counters
typed_offers        which values of a typed record that is offered may be merged
typed_drops         what goes of typed records: on the word of others, and by proof
own_writes          the versions that this life has written
set_back            a machine that was set back begins a new life
fact                one piece of a causal context
context_difference  the facts that two replicas send each other of their contexts
"""
