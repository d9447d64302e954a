"""Pages, figures, tables and sentences made of claims and metrics, and the templates of the pages.

May import everything in this package except `validation`.
"""
