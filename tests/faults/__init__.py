"""What happens when things go wrong: real parts, killed, stopped, filled up and lied to.

`python -m tests.faults --rounds 50` repeats what depends on the moment more often than the 10 rounds of an ordinary run.
"""
