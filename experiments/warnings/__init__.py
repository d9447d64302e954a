"""Which measures move before pass@1 falls, found on some arms and tested on others."""
