"""Small reproductions of published claims: each one command, with its criterion as code.

`python -m experiments.reproduce E1` plays it, prints the criterion and "met" or "MISSED", and leaves a table,
a figure and the outcome as data. A miss is a result like any other: criteria are fixed before the run.
"""
