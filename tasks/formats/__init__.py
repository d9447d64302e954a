"""Readers of published formats: Harbor task folders, rows of HumanEval, EvalPlus and MBPP, and SWE-bench.

May import grading, the contracts in `base` and `suite`, and `files`; never `suites` or `quality`.
"""
