"""Benchmarks: `make bench`, or `python -m tests.bench [name …]`. They print figures and assert none."""
