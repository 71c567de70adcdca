"""The database door and everything behind it: two primaries, one local file, one change feed."""
