"""Where the command begins: what has to be settled before anything else is loaded."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command."""
    # A short life makes many objects and little garbage; looking for it takes a tenth of it.
    gc.set_threshold(20_000)
    try:
        from dray.cli.main import main as run

        run()
    except KeyboardInterrupt:  # so early that nothing has been begun
        sys.stderr.write("dray: interrupted\n")
        sys.stderr.flush()
        os._exit(130)
