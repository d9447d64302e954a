"""Figures about the katas: splits, shares, lengths, and how weak their visible tests are."""
