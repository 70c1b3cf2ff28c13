"""The fault battery: pulls, pushes and copies under faults, and checks of what is there after them.

    make faults                     # two minutes
    make faults ARGS=--long         # an hour
    make faults ARGS="--only kill --seed 7"

It prints a table (runs, faults, runs survived, bytes moved more than once), and exits with 1 if
anything is lost.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import by_cancel
import by_copy
import by_crowd
import by_disk
import by_fake
import by_kill
import by_mirror
import by_proxy
import by_push
import by_split
from rows import print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rows import Row

SECTIONS: Mapping[str, Callable[..., Sequence[Row]]] = {
    "fake": by_fake.rows,
    "split": by_split.rows,
    "mirror": by_mirror.rows,
    "proxy": by_proxy.rows,
    "kill": by_kill.rows,
    "crowd": by_crowd.rows,
    "cancel": by_cancel.rows,
    "disk": by_disk.rows,
    "push": by_push.rows,
    "copy": by_copy.rows,
}
_SETTINGS = (
    *("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF", "WHERRY_STORE"),
    "CONTAINERS_REGISTRIES_CONF_OVERRIDE",
    *("WHERRY_PLATFORM", "DOCKER_DEFAULT_PLATFORM"),
)
_HOMES = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="faults-home-") as home:
        isolate(home)
        started = time.monotonic()
        rows = [
            row
            for name in options.section or SECTIONS
            for row in SECTIONS[name](options.seed, long=options.long, only=options.only)
        ]
    print_table(rows)
    print(f"{time.monotonic() - started:.0f} seconds, seed {options.seed}")
    sys.exit(any(row.problems for row in rows))


def isolate(home: str) -> None:
    """Hide the settings of this machine's user."""
    for name in _SETTINGS:
        os.environ.pop(name, None)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    for name in _HOMES:
        os.environ[name] = home


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help="many more runs")
    parser.add_argument("--seed", type=int, default=1, help="seed of random numbers (default: 1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name contains TEXT")
    parser.add_argument(
        "--section", choices=list(SECTIONS), action="append", help="a section (default: all)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
