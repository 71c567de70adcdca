"""HTTP: operations and their contract, sessions, limits, static files and event streams. Knows no feature."""
