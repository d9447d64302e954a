"""Attempts in other harnesses' formats. May import records and the store, nothing that computes."""
