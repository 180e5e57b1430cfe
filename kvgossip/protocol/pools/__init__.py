"""Pools: everything of one gossip pool put together, and the pools of a replica.

pool            one gossip pool, put together from its mechanisms
pool_set        the pools of a replica, and what concerns all of them
shared          what all pools of a replica share
dispatch        the messages of a frame go to the mechanisms that they are for
handlers        which mechanism handles which message
joining          how this node enters a pool, and finds those again that it has lost
pool_outbox     messages on their way out, filled up with membership news
probe_answers   pings and acks, and what they carry along
survey_answers  by how many keys this node differs
own_condition   how this node is, as it tells the doctor of another one
"""
