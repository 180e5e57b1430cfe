"""Pools: everything of one gossip pool put together, and the pools of a replica.

pool            one gossip pool, put together from its mechanisms
pool_set        the pools of a replica, and the tasks that concern all of them
shared          the state that all pools of a replica share
dispatch        the messages of a frame go to the mechanisms that they are for
handlers        the mechanism that handles each message
beside          the other pool of a gateway, as one of its pools sees it
joining         the way into a pool, and back to members that were lost
piggyback       news that rides on messages of the application
pool_outbox     messages on their way out, filled up with membership news
farewell        a node goes on purpose, and its peers get the time to hear so
probe_answers   pings and acks, and the facts that they carry along
survey_answers  by how many keys this node differs
own_condition   the condition of this node, as the doctor of another one hears it
own_overview    what this node says of itself, to whoever surveys the members
"""
