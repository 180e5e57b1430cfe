"""Members: SWIM with Lifeguard, joining, distances between them (protocol.md section 2)."""
