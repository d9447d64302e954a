"""Tasks: what is asked, how it is graded, and where suites come from.

From the top down: `cli`, `quality`, `loading`, `suites` and `formats`, `grading`, `suite`, and below all of
them `guest`, `files` and `base`. Imports nothing of plateau but `sandbox` and the shared modules.
"""
