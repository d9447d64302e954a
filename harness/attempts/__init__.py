"""Attempts: letting an agent solve tasks, grading what it left, and recording both.

Runs and evaluations make all their attempts here. May import `learning`, `callbacks` and `seeds`. What acts
in a round is an `Actor` (`actors.py`); a checkpoint of weights is one kind.
"""
