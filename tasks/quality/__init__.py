"""Whether a suite can be trusted: proofs, leaks, contamination, quarantine and variants of its tasks.

May import suites, formats and grading; only the command line imports it.
"""
