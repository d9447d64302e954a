"""From what an attempt left behind to a verdict. Expected values never enter a box.

May import the guests' source, `files` and `base`; it knows no file format of tasks and no suite.
"""
