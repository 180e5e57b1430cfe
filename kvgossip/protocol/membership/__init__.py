"""The members of a pool: SWIM with Lifeguard, joining, and the distances between them (protocol.md
section 2).

    swim             Membership: merges, refutes, and puts its parts together
    member_table     MemberTable: the records, which are reachable, the name at an address
    roster           Roster: members in the order of their names
    claims           Claims: news that puts a name at an address, until it has answered there
    proofs           Proofs: the members that have answered a probe, and where
    obituaries       Obituaries: word of others that a member is gone
    probing          Probing: pings, helpers' relays, acks and nacks: failure detection
    suspicion        Suspicion, Suspicions, Awareness: the time that a suspect has to refute
    dissemination    Dissemination: the membership news that rides along with other frames

    sampling         uniform choice, RoundRobin: the order of probes
    proximity        Proximity: how far each peer is, near ones chosen rather than far ones
    spatial          SpatialPeers: choice by distance (Demers, Kempe)
    coordinate       Coordinates: this node's place in the network (Vivaldi)
    round_trip       RoundTrips: how long each member takes to answer, and by which way
    link_watch       LinkWatch: what is usual on each link, and what is not

    join_handshake   JoinHandshake: Join and JoinReply, both sides
    join_targets     JoinTargets: the addresses that this node is to join
    known_peers      KnownPeers: the members that earlier lives knew
    own_cluster_id   OwnClusterId: the cluster that this node belongs to
    own_host         OwnHost: where this node is reached, one host of each IP family
    identity         Identity: a key by which a name belongs to its first user
    signed_records   SignedRecords: the owner of such a name signs its record

    partition_watch  PartitionWatch: most members gone at once
    member_warnings  MemberWarnings: warnings about members for the operator
"""
