"""Run the command as ``python -m dray``."""

from dray.cli.entry import main

if __name__ == "__main__":
    main()
