"""Programs for those who develop kvgossip; no part of the package."""
