"""The built-in suites: katas and repository katas.

May import grading and `base`; they read no files of others, so they know no format.
"""
