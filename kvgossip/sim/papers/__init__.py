"""Experiments that measure the code that ships beside the figures of the papers.

    epidemic     rumor mongering and anti-entropy in synchronous cycles (Demers et al. 1987)
    residue      the share of the nodes that rumors alone do not reach (its Table 1)
    spread       spatial gossip: traffic of links, and cycles until all know (its section 3)
    topology     the lines, rings, grids and trees for it
    lost_writes  acknowledged writes that a partition costs, which no paper has figures of
    membership   detection, messages and false positives (SWIM 2002, Lifeguard 2018)

As in all of the simulator, the seed decides everything that is random.
"""
