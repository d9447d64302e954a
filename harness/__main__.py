"""`python -m plateau_bench.harness` is `plateau`."""

from plateau_bench.harness.cli.app import main

if __name__ == "__main__":
    main()
