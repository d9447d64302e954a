"""Where a round's time goes, what a checkpoint samples and trains per second, and diversity at scale."""
