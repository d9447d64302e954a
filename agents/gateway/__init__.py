"""The server between a vendor's command line and its model: four protocols, one record, one budget.

May import `models` and `base`, never an agent.
"""
