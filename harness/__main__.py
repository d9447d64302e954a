"""`python -m harness` is `plateau`."""

from harness.cli import main

if __name__ == "__main__":
    main()
