"""Source text that runs inside a box while something is graded; the harness never imports it to run it.

A guest imports the standard library and other guests alone.
"""
