"""Attempts: opening the agent, letting it solve a task, and grading what it left.

May import `learning` and `seeds`; rounds and evaluations both go through it.
"""
