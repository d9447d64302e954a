"""Pass rates, diversity, drift and the estimators under them: numbers from attempts, without a verdict.

Every metric is an object (`metric.Metric`) in the list of its family, and `registry` knows all of them. May
import the store and records.
"""
