"""The one copy of the data, its digest tree and its sketch.

store        the only owner of entries
capacity     how large it may become by writes of clients
key_types    the type of a key, or of a new one by its prefix
hash_table   records by key, in many small dicts
sorted_keys  the live keys in order
digest       fingerprints of all entries, combined level by level
reseeding    the positions of keys follow from another seed, while the store goes on
sketch       a rateless sketch of the fingerprints
symbols      what it consists of
numpy_symbols  the same by numpy, for bulk loads
free_list    empty dicts for later
"""
