"""The suites that plateau makes itself: katas and repository katas.

May import the contracts in `base` and `suite`; they read no files of others, so they know no format.
"""
