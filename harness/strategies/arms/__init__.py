"""One module for each family of strategies, with a mapping `STRATEGIES`."""
