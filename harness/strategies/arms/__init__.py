"""One module per family of strategies; each module's `STRATEGIES` is found by itself."""
