"""Anti-entropy: two replicas compare, and both end with the union (protocol.md section 4).

scheduler        the active side: the time and the peer of each exchange, and their number at a time
slots            how many exchanges there are at a time, with whom next, and for how long
initiator        one session of the active side, as it judges it
questions        the questions of a session, made when it is its turn
session_context  the part of its causal context that each side of a session may learn
responder        the passive side
ending           what is learned and dropped at the end of an exchange, in steps
backlog          the answers that take longer than a moment, made in steps
asked_exchange   what the passive side keeps of an exchange
answers          answers to the questions, as functions of the store alone
futility         differences that exchanges do not repair are given up
keeper           the entries that came are kept, on either side
objections       why one side would not take what the other one has
left_out         the entries that peers leave out, since they are too long for this node
folding          when changes are folded into the sketch
difference       an estimate of how many keys differ
inspection       which keys differ from a member; repairs nothing
inspections      those under way
survey           by how many keys each member differs now; repairs nothing
"""
