"""Where the command begins: what has to be settled before anything else is loaded."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
import types
from importlib.machinery import PathFinder
from typing import Any, NoReturn

_METADATA = "importlib.metadata"


def main() -> NoReturn:
    """Run the command."""
    # A short life makes many objects and little garbage; looking for it takes a tenth of it.
    gc.set_threshold(50_000)
    _open_streams()
    _defer_metadata()
    try:
        from dray.cli.main import main as run

        run()
    except KeyboardInterrupt:  # so early that nothing has been begun
        sys.stderr.write("dray: interrupted\n")
        sys.stderr.flush()
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


def _defer_metadata() -> None:
    """Have `importlib.metadata` loaded by whoever uses it, not by whoever takes a name from it.

    urllib3 does the latter, to be ready for HTTP/2, which costs 5 ms of the 75 that a pull
    takes to start (docs/decisions/0007). A process of somebody else is left as it is.
    """
    if _METADATA in sys.modules:
        return
    spec = PathFinder.find_spec(_METADATA, importlib.__path__)
    assert spec is not None  # noqa: S101 - it is part of the standard library
    stand_in: Any = types.ModuleType(_METADATA)
    lock = threading.Lock()

    def version(name: str) -> str:
        return str(find("version")(name))

    def find(name: str) -> Any:
        with lock:
            if sys.modules.get(_METADATA) is stand_in:
                del sys.modules[_METADATA]
        return getattr(importlib.import_module(_METADATA), name)

    stand_in.__spec__, stand_in.__path__ = spec, spec.submodule_search_locations
    stand_in.__getattr__, stand_in.version = find, version
    sys.modules[_METADATA] = stand_in
    setattr(importlib, _METADATA.rpartition(".")[2], stand_in)
