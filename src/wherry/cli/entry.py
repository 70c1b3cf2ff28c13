"""Where the command begins: what has to be settled before anything else is loaded."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command."""
    # A short life makes many objects and little garbage; looking for it takes a tenth of it.
    gc.set_threshold(50_000)
    _open_streams()
    try:
        from wherry.cli.main import main as run

        run()
    except KeyboardInterrupt:  # so early that nothing has been begun
        from wherry.cli import messages

        messages.begin(sys.argv[1:])
        messages.tell_error("interrupted", [], 130)
        messages.end(130)
        os._exit(130)


def _open_streams() -> None:
    """Stand in for standard streams that are closed: files must not take their numbers.

    What is written to a closed stdout is lost, so that fails: the stand-in is for reading.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr
        if descriptor == 1:
            os.close(descriptor)
            os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115 - for the whole run
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as above
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115 - as above
    from wherry.cli.printable import install

    install()
