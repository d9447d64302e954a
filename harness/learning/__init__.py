"""Fine-tuning: which tokens carry loss, the optimizer, the base model, and the ledger of what was spent.

May import `seeds` alone of this package.
"""
