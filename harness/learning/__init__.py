"""Fine-tuning: which tokens carry loss, the optimizer, and the ledger of what was spent.

May import `seeds` alone of this package.
"""
