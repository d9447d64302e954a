"""Command-line agents of vendors, each described by one YAML file, run in a box behind the gateway.

May import `gateway`, `models` and `base`.
"""
