"""The pure machine: no event loop, socket, clock, file or thread. Bytes, requests and the time go
in, effects come out. Layers, from below: model, typed, wire and store, tombstones, the mechanisms,
pools, replica.

    model/          the values that everything else speaks of; they never change
    typed/          records that are merged instead of one of them being lost
    wire/           messages and their bytes
    store/          the one copy of the data, its digest tree and its sketch
    tombstones/     deletes that stay deleted, and values that expire
    membership/     SWIM with Lifeguard, joining, distances between members
    ingress/        frames are admitted or refused here
    rumors/         rumor mongering: news that is still spreading
    anti_entropy/   exchanges that repair whatever differs
    acks/           the members that hold a write
    doctor/         observations by all members, and findings in words
    pools/          everything of one gossip pool put together
    effect          the actions that an input asks of its driver
    outbox          the one way out of the machine
    saved_state     the facts of a replica about itself, from which a later life goes on
    merging         the one way by which an entry comes into a replica
    writes          the values that clients of this node ask to be stored
    settling        the moment at which a replica has caught up once
    readiness       the reasons for which this node should not be asked just now
    disk_condition  what is wrong with the data directory of this node
    clock_guard     this node's wall clock, compared with those of its peers
    data            the one copy of the data, with what decides about it
    key_rotation    keys come and go on all nodes while the cluster runs
    replica         one copy of the data and its pools, as one machine
"""
