"""Measures that no report shows yet: classes of programs by behaviour, the law of success and entropy, the
crossover of pass@k, and the distance of two samples of classes.
"""
