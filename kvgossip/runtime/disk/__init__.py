"""The data directory, and the files of keys.

data_dir       what one life of a node has to do with its data directory
rocksdb        the engine, and whose directory it is
group_commit   many writes in one commit with fsync
compaction     disk and memory go back to the system after much has been removed
quarantine     values that the cluster had deleted meanwhile
key_files      the files of a keyring and of an identity
"""
