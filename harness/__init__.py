"""The loop of self-training and the evaluation of agents, and the command `plateau` over both.

May import every other package; nothing imports it. Inside, imports run down: cli, then rounds and evals,
config, strategies and attempts, learning, seeds and callbacks. Start reading at `rounds/round.py`.
"""
