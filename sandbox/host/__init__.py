"""The harness's side of an open box: the channel to the guest, running commands and running programs.

May import `base` and the guests' source; it knows no backend and no image.
"""
