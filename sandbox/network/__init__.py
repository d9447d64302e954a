"""The only ways out of a box: named services on its loopback and the proxy with its allow list.

May import `host`'s neighbours `engine` and `base`, never a backend.
"""
