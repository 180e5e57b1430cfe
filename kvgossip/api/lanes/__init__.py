"""Connections of clients, and the two lanes that serve them.

connections   all connections: how many there may be, and how long each may keep us waiting
crowd         those of each client, and which of them make room
files         how many of the process's files they may use
overload      the door: refuses clients for which there is no room
fast          the express lane: requests for single keys
phase         the states of a connection on it, as a table
request_head  its parser
single_key    what its requests ask for
answer_queue  its answers, until they leave
turns         its long answers, a few at a time
aiohttp_lane  the general lane: aiohttp's connections
"""
