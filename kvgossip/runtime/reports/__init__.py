"""Reports of a node, ready for JSON: its public methods give them, and the API serves them.

status        a node's own view of itself, with all counters
doctor        the findings of the doctor, the members, and their sight of each other
review        how the members are set up, and what differs
applied       what the processes of all members made of releases
story         what happened to a key on every member, and the order to keep such stories
differences   the keys that differ from a member, and why that stays so
round_trip    the way between two members, measured and estimated
lag           how long writes of others take to arrive
cluster       the whole cluster, as this node sees it and its members tell of themselves
cluster_report    what it says
plane         places of many dimensions on a map
"""
