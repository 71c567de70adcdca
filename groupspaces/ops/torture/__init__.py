"""The torture test: a real deployment, people who use it, and everything that may happen to it, drawn from a seed.

Reading order: `program` (a process that may die), `wire` (a line that may break), `fleet` (the deployment), `faults` (what is done
to it, and the plan), `people`, `model` and `checks` (what must hold all the same), `report`. It only uses what an operator has: the
command line, HTTP, signals and files. Nothing of the product imports it but its command. This file imports nothing: each wire is a
process that starts from here.
"""
