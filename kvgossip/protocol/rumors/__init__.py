"""Rumor mongering: news that is still spreading (protocol.md section 3).

mongering     the active side: the peers that hear of news, and when
responder     the passive side: a packet of rumors is merged and answered
hot_list      the rumors that are being spread, and when they cool
policy        the variants of rumor mongering as one value
packets       rumors for one peer, filled into datagrams or bursts
burst_window  how many bursts may be under way to a peer
fetching      bodies too large for a datagram
rides         news that rides on messages of the application
batches       batches of writes that travel and are merged as one
"""
