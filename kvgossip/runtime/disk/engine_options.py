"""The options of RocksDB. One of them has no setter in rocksdict, manual_wal_flush: RocksDB reads
it from a file of options."""

from __future__ import annotations

from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options

from kvgossip.runtime.disk.private_file import private_folder

BUFFER_BYTES_MAX = 256 * 2**20
"""A commit that is larger is written with the interpreter's lock held."""
BLOCK_CACHE_BYTES = 4 * 2**20
OPEN_FILES_MAX = 256
LOG_FILES = 2
FILE_BYTES = 16 * 2**20
"""A file that is written waits in a buffer too, as the log does: so it must not be large."""
MANUAL_WAL_FLUSH = """[Version]
  rocksdb_version=10.0.0
  options_file_version=1.1
[DBOptions]
  manual_wal_flush=true
[CFOptions "default"]
[TableOptions/BlockBasedTable "default"]
"""


def engine_options(folder: Path) -> Options:
    """`folder`: where RocksDB reads the option from that has no setter."""
    private_folder(folder)
    (folder / "OPTIONS-000001").write_text(MANUAL_WAL_FLUSH)
    (folder / "rocksdict-config.json").write_text('{"raw_mode":true,"prefix_extractors":{}}')
    options, _ = Options.load_latest(str(folder), ignore_unknown_options=True)
    options.create_if_missing(True)
    options.set_paranoid_checks(True)
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    # everything is in the node's memory, so the engine needs little
    options.set_write_buffer_size(BUFFER_BYTES_MAX)
    options.set_writable_file_max_buffer_size(BUFFER_BYTES_MAX)
    options.set_target_file_size_base(FILE_BYTES)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(BLOCK_CACHE_BYTES))
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_open_files(OPEN_FILES_MAX)
    options.set_keep_log_file_num(LOG_FILES)
    options.set_stats_dump_period_sec(0)
    return options
