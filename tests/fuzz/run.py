"""Fuzz for some time: `make fuzz ARGS="--seconds 600 --target archives --seed 3"`."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time

import fuzzing
import targets


def main() -> int:
    """Print findings, keep their inputs in the corpus, and count tries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="for each target (10)")
    parser.add_argument("--target", action="append", choices=targets.TARGETS, help="only this one")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the mutations")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    count = 0
    for target in given.target or targets.TARGETS:
        count += _fuzz(target, given.seconds, given.seed)
    targets.close()
    return 1 if count else 0


def _fuzz(target: str, seconds: float, seed: int) -> int:
    places: set[str] = set()
    tries, end = 0, time.monotonic() + seconds
    for data in fuzzing.inputs(target, seed):
        if time.monotonic() > end:
            break
        tries += 1
        faulthandler.dump_traceback_later(60, exit=True)  # for an input that never ends
        found = fuzzing.attempt(target, data)
        faulthandler.cancel_dump_traceback_later()
        if found is None or found.place in places:
            continue
        places.add(found.place)
        path = fuzzing.keep(target, found)
        print(f"{target}: {found.place}\n{found.problem}\nkept as {path}", flush=True)
    print(f"{target:18} {tries:9} tries  {len(places)} findings", flush=True)
    return len(places)


if __name__ == "__main__":
    sys.exit(main())
