"""How often the claims are wrong, on simulated curves whose truth is known (`plateau validate-detector`).

May import claims and metrics.
"""
