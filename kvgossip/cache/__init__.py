"""The config-distribution cache inside a Python process.

    source      where a cache has its data from: a member, or one who follows a member
"""
