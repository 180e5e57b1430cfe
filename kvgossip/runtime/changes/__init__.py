"""Changes: the feed, its watchers, and what is remembered of the past."""
