"""What happened and what may be said about it: records, store, metrics, claims, report and exports.

It may import `agents`, `tasks` and `sandbox` for their types, never `harness`.
"""
