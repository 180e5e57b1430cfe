"""The data directory, and the files of keys.

data_dir       the data directory in the hands of one life of a node
rocksdb        the engine, and the owner of its directory
group_commit   many writes in one commit with fsync
compaction     disk and memory go back to the system after much has been removed
quarantine     values that the cluster had deleted meanwhile
key_files      the files of a keyring and of an identity
"""
