"""Measures that no report shows yet: classes of programs by behaviour, and the law of success and entropy."""
