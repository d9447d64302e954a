"""Readers and writers of published formats: Harbor folders, HumanEval, EvalPlus and MBPP rows, SWE-bench.

May import grading and the contracts in `base` and `suite`, never `suites` or `quality`.
"""
