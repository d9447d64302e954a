"""What boxes cost, measured against no sandbox at all and against others; and whether they leave anything."""
