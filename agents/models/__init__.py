"""Models behind agents: checkpoints in this process with per-sample seeds, and endpoints with prices.

May import `base` alone.
"""
