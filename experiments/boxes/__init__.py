"""What boxes cost, measured against no sandbox at all and against others: `plateau sandbox bench`."""
