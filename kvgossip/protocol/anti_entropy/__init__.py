"""Anti-entropy: exchanges that repair whatever differs (protocol.md section 4)."""
