"""The laboratory notebook: what plateau's authors measured, each with one command in README.md.

Not installed with plateau. It imports `plateau_bench` like any user; nothing in `plateau_bench` imports it.
"""
