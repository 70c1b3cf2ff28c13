"""Run the command as ``python -m wherry``."""

from wherry.cli.entry import main

if __name__ == "__main__":
    main()
