"""The ways to open a box that ship with plateau: a Docker engine, or bubblewrap without one.

May import images, host, network and the engine; only `checks`, `ensure` and the command line import it.
"""
