"""The doctor: observations by all members, how they are set up, and findings in words.

examination   the doctor of one pool: observes members, and lets them observe each other
observation   the sight of one member, and an examination under way
diagnosis     findings, from the report of an examination
finding       one of them
alike         those of what should be alike on all members
clocks        those of clocks
review        those of how members are set up
trend         a number that is not as usual, or comes to its limit, in words; those of links
own_trends    those of the node itself
shell_report  what the shell says of itself
"""
