"""Pages, figures and sentences made of claims and metrics.

May import everything in this package except `validation`.
"""
