"""Images: the base image, images with a program put in, and images unpacked for machines without an engine.

May import host, network and the engine; the backends import it.
"""
