"""Attempts: opening the agent, letting it solve a task, and grading what it left.

May import `learning` and `seeds`; rounds and evaluations both go through it. What acts in a round is an
`Actor` (`actors.py`); a checkpoint of weights is one kind.
"""
