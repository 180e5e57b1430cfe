"""The pure machine: no event loop, socket, clock, file or thread. Bytes, requests and the time go
in, effects come out. Layers, from below: model, wire and store, tombstones, the mechanisms, pools,
replica.

    model/          what everything else speaks of: values that never change
    wire/           messages and their bytes
    store/          the one copy of the data, its digest tree and its sketch
    tombstones/     deletes that stay deleted, and values that expire
    membership/     SWIM with Lifeguard, joining, distances between members
    ingress/        frames are admitted or refused here
    rumors/         rumor mongering: news that is still spreading
    anti_entropy/   exchanges that repair whatever differs
    acks/           which members hold a write
    doctor/         observations by all members, and findings in words
    pools/          everything of one gossip pool put together
    effect          what an input asks its driver to do
    outbox          the one way out of the machine
    saved_state     what a replica knows about itself, and a later life goes on from
    merging         the one way by which an entry comes into a replica
    writes          what clients of this node ask to be stored
    settling        when a replica has caught up once
    clock_guard     whether this node's wall clock is ahead of its peers'
    key_rotation    keys come and go on all nodes while the cluster runs
    replica         one copy of the data and its pools, as one machine
"""
