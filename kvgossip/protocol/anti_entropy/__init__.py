"""Anti-entropy: two replicas compare, and both end with the union (protocol.md section 4).

scheduler        the active side: when an exchange starts, with whom, how many at a time
initiator        one session of the active side, as it judges it
questions        what a session asks, made when it is its turn
session_context  what each side of a session may learn of the other's causal context
responder        the passive side
answers          answers to the questions, as functions of the store alone
keeper           the entries that came are kept, on either side
difference       an estimate of how many keys differ
survey           by how many keys each member differs now; repairs nothing
"""
