"""Entry point of the command: set up streams before anything else is imported."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command."""
    # A short run makes many objects and little garbage. With the default threshold, garbage
    # collection takes a tenth of its time.
    gc.set_threshold(50_000)
    _open_streams()
    try:
        from wherry.cli.main import main as run

        run()
    except KeyboardInterrupt:  # before `wherry.cli.main` handles signals
        from wherry.cli import messages
        from wherry.cli.exit_codes import INTERRUPTED

        messages.configure(sys.argv[1:])
        messages.write_error("interrupted", [], INTERRUPTED)
        messages.write_outcome(INTERRUPTED)
        os._exit(INTERRUPTED)


def _open_streams() -> None:
    """Replace closed standard streams, so that no other file gets their descriptors.

    Stdout is replaced with a stream that cannot be written: output to a closed stdout is lost,
    and must be an error.
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
