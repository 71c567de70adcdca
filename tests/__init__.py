"""Tests against the real parts; `tests.support` starts them."""
