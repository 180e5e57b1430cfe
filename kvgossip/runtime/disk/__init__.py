"""The data directory, and the files of keys.

data_dir        the data directory in the hands of one life of a node
rocksdb         the engine, and the owner of its directory
engine_options  the options of the engine
inherited       what a forked child has of its parent's engine, and must leave alone
file_lock       a file that one holder has at a time
folder          the directory as the system sees it: lock, syncs
group_commit    many writes in one commit with fsync
commit_thread   the thread that waits for the disk
compaction      disk and memory go back to the system after much has been removed
quarantine      values that the cluster had deleted meanwhile
private_file    files and folders for their owner alone, whatever the umask
key_files       the files of a keyring and of an identity
"""
