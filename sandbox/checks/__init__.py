"""What a backend promises, as checks that any machine can run: conformance and `plateau sandbox doctor`.

May import everything in this package except the command line.
"""
