"""Bytes: messages, frames, seals. Nothing else knows them.

message            the messages but those of anti-entropy and of surveys
exchange_messages  the messages of anti-entropy
release_messages   the messages of a survey of releases
overview_messages  the messages of a survey of what members say of themselves
clock_messages     the messages about clocks of other datacenters
story_messages     the messages of a survey of what members kept of a key
frame              units under the header of a pool, to bytes and back
unit               messages and records of members to bytes and back
member_record      the record of a member to bytes and back, with fields of newer releases
batching           lists of numbers as bytes, and entries in messages of bounded size
seal               sealed frames
keyring            the keys with which frames are sealed
"""
