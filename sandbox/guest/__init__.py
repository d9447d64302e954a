"""The programs that run inside boxes. See `core`."""
