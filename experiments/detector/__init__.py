"""How the claims compare with other rules on simulated curves, and the page that says so."""
