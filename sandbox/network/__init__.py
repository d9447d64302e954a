"""The only ways out of a box: named services on its loopback and the proxy with its allow list.

May import `base` and the guests' source; it knows no backend and no engine.
"""
