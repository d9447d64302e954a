"""Modules that are shipped as source text into a box while something is graded, and run there.

A guest imports the standard library and other guests, nothing else. The harness itself calls only `exchange`.
"""
