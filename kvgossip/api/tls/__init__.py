"""TLS: connections of clients that are encrypted, and the certificate that they see.

link          one connection: a protocol to the real transport, a transport to its lane
handshakes    how much of each turn of the event loop goes to handshakes
certificates  the files: read, checked, read again when they change
reading       one reading of them: what is wrong with it, and until when it holds
issue         makes a CA and certificates for trials
"""
