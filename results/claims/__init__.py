"""What may be said: PDT-1 for rise, plateau and decline, comparisons of arms and of agents, delays.

May import metrics, the store and records, never the report.
"""
