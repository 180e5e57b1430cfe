"""Datagrams, TCP links and DNS.

transport    bytes to and from the peers of one pool
datagrams    UDP
link_table   the TCP links of a node, one for each address
tcp_link     one link: frames over a TCP connection
listener     takes connections from a listening socket
sockets      UDP and TCP on one port
dns          names to addresses
"""
