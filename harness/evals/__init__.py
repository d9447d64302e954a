"""Agents measured without training: `plateau eval`.

May import attempts and config; it knows nothing of rounds.
"""
