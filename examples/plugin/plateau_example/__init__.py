"""Somebody else's parts for plateau, one module for each kind."""
