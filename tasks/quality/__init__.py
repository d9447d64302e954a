"""Whether a suite can be trusted: proofs, leaks, contamination, quarantine and variants of its tasks.

May import suites, grading and what is below them. The command line and the package `harness` import it.
"""
