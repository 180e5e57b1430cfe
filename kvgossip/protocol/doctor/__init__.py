"""The doctor: observations by all members, and findings in words."""
