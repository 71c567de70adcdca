"""Believable data to try the product with: people, spaces and what they say to each other. Read `plan.py`, then `sowing.py`."""
