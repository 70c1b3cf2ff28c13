"""Run the command and measure the peak memory of its process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 300  # MiB: the limit of the process for any input

# A small process starts the command, since `ru_maxrss` of a child includes the memory of the
# process that forked it (getrusage(2)).
_LAUNCHER = """
import json, os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "wherry", *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss]), file=sys.stderr)
"""


class Outcome(NamedTuple):
    """The exit code, the peak of the resident set in MiB, and the output."""

    code: int
    peak: int
    stdout: bytes
    stderr: str


def run(environment: Mapping[str, str], *arguments: str, given: bytes = b"") -> Outcome:
    """Run ``wherry`` to its end, with ``given`` on its standard input."""
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCHER, *arguments],
        input=given,
        capture_output=True,
        env=dict(environment),
        timeout=110,
        check=True,
    )
    *lines, last = done.stderr.decode(errors="replace").splitlines()
    code, kilobytes = json.loads(last)
    return Outcome(code, kilobytes >> 10, done.stdout, "\n".join(lines))
