"""Turns what an attempt left behind into a verdict; expected values never enter a program box.

There are four kinds of tests: `functions` (and `published`), and for task folders, which `folders` grades,
`values`, `pytest_tests` and `scripts`. It may import `guest`, `files` and `base` of this package, and knows
no suite and no format but `expected.json` and `cases.json`.
"""
