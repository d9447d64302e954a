"""Attempts in the formats of other projects, one file per format; `formats` knows them by name.

May import the store and records, nothing that computes.
"""
