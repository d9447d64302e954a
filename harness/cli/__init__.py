"""The command `plateau`. The only place that prints; may import everything."""
