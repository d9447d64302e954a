"""What may be said: PDT-1 for rise, plateau and decline, comparisons of arms and of agents, delays.

May import metrics and records, never the report.
"""
