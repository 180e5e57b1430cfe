"""A node over HTTP, as whoever asks it has it. The standard library alone: a command that asks one
question, or a process that follows, must not pay for a client that it has no other use for.

    client        every route that a command needs, as a method
    conversation  a question, its answer, and every failure in words
    connection    a connection to a node: TCP, TLS or a unix socket
    node_url      the URL of a node
    failures      no answer, or one that is no: in words
    trust         what a client believes and shows over TLS, and what went wrong
"""
