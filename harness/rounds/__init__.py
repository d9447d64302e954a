"""The loop: practise, choose, learn, evaluate, for every arm and seed, resumable after any crash.

May import config, strategies, attempts and learning; it knows nothing of evaluations or commands.
"""
