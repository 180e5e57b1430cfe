"""Doors: who asks, and what is refused before anything is done.

It imports nothing of `http` and of `lanes`, which carry a Client with every request: what is
refused here is an AccessError, which has the status of its answer.

client      who is at the other end of a connection
refusal     AccessError: a status, a sentence, a hint
doors       all that a request must pass before its route is asked
protection  protected mode: clients of other machines
hosts       the names by which a node may be asked
pages       web pages of other sites
rights      who may do what: the caller of a request
tokens      the tokens file: its sections, and their hashes
token_file  that file while an agent runs: it is read again when it changes
audit       who did what, and who was refused
"""
