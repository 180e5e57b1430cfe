"""Frames are admitted or refused here, before anything else sees them (protocol.md section 1)."""
