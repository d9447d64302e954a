"""The loop: practise, choose, improve, evaluate, for every arm and seed, resumable after any crash.

Doors for improvers (`improve.py`) and executors (`executors.py`) are here. May import config, strategies,
attempts and learning; it knows nothing of evaluations or commands.
"""
