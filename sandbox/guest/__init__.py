"""The programs that run inside boxes, sent there as text over the channel. Start with `core`.

May import the standard library and one another, nothing else.
"""
