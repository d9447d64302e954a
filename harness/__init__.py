"""The only package that composes: rounds of self-training, evaluations of agents, and the command line.

It may import every other package, and none of them imports it. Start reading at `rounds/round.py`.
"""
