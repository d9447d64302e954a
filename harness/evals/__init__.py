"""Agents measured without training: `plateau eval`.

May import `attempts` and what lies below it; it knows nothing of rounds, strategies or the config of a run.
"""
