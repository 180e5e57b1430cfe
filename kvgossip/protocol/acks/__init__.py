"""Acks: writes that wait until enough members hold them (protocol.md section 3), and releases that
processes have applied.

write_concern  how many members, and which, shall hold a version
tracker        the members that have shown that they hold it
inquiry        version queries: do you hold this version?
applied        what the processes of this machine made of releases
"""
