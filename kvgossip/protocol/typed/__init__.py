"""Typed records: what is merged under a key instead of one write being lost. Each module is a type,
or what all of them share; all are pure functions over immutable records.

typed_record   TypedRecord: dots, payloads and what was seen; the join, writes, pruning
siblings       all writes that did not know of each other
counter        the sum of what each life of a node has added
add_wins_set   elements that are added and removed
field_map      fields, each a register, a counter or a set
extremum       the greatest or the least number
body           the bytes of a record, and two of them merged
anew           a record of a backup, written anew
edit           what a client asks to be done to a record
context_token  what a reader has seen, as it is given to clients
forms          what is shown of a record
views          the same as an entry, to readers who know but values
defaults       the types that keys of a prefix get
"""
