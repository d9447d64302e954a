"""Pass rates, diversity, drift and the estimators under them: numbers from attempts, without a verdict.

May import records alone.
"""
