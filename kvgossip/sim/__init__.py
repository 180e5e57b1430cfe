"""The simulator: the second driver of the pure machine. Virtual time, one event heap, one seed; it
drives the `Replica` that ships.

    scenario    the meaning of one seed, with its options
    faults      the ways to go wrong, and the amount of each that a seed draws
    schedule    the faults that strike, and their times
    workload    the writes of a run
    deletion    the scenarios in which deletes are under trial
    layout      datacenters, gateways, and the names that DNS has
    timeline    virtual time, and the one event heap
    network     the fate of each packet
    recorded    a replica that can be made again as it was earlier, from its inputs
    host        a machine with its clocks, the lives on it, and their links
    disk        the data that a host keeps from one life to the next
    dns         the addresses of join targets
    delivery    datagrams and links between lives
    timers      the times at which a replica wants to be called
    commits     the times at which changes come to disk
    driver      inputs and time into a replica, its effects out, every step checked
    lives       hosts start, stop, move and come back
    clients     writes, and the answers that each replica must keep
    editing     edits of typed keys
    riding      the applications of hosts exchange messages, on which news rides
    merges      an operator merges the clusters that a first start in parts has left
    lies        what a liar says goes to the nodes
    liar        one that has the key, and sends valid messages with false content
    injector    lets the faults happen, and ends them
    cluster     all of these put together
    simulation  the phases of one run, from the first start to the verdict
    report      the outcome of one run
    tracing     the hash over every event, and the last events in words
    checks      the laws that must hold in every run
    papers      experiments beside the figures of the papers

Law: one seed gives one trace, whatever PYTHONHASHSEED is. So nothing here iterates over a set,
calls hash(), reads a real clock or touches the global random generator; a test bans all four.
"""
