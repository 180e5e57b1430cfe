"""Doors: who asks, and what is refused before anything is done.

It imports nothing of `http` and of `lanes`, which carry a Client with every request: what is
refused here is an AccessError, which has the status of its answer.

doors       all that a request must pass before its route is asked
client      who is at the other end of a connection
protection  protected mode: who may ask a node that nobody has opened
hosts       the names by which this node may be asked
pages       what browsers send on behalf of other origins
refusal     AccessError: a status, a sentence, a hint
rights      who may do what: the caller of a request
tokens      the tokens file: its sections, and their hashes
token_file  that file while an agent runs: it is read again when it changes
audit       who did what, and who was refused
"""
