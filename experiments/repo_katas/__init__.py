"""Figures about the repository katas: shares of bugs and places, and what the generated transcripts hold."""
