"""Which repositories a blob is mounted from, and how many are tried. Does no I/O.

A request for a mount costs a round trip, so small blobs are sent sooner. The order and the numbers
are Docker's (moby, ``distribution/push_v2.go``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SMALL = 100 * 2**10  # bytes
LARGE = 10 * 2**20


class Attempts(NamedTuple):
    """How often to ask the destination before a blob is sent.

    Attributes:
        mounts: The most repositories to mount the blob from.
        checks: The most digests to look for, where a layer may have several.
    """

    mounts: int
    checks: int


def attempts(size: int | None) -> Attempts:
    """Return the attempts for a blob of ``size`` bytes; None if that is not known."""
    if size is None:
        return Attempts(3, 1)
    if size > LARGE:
        return Attempts(4, 3)
    return Attempts(3, 1) if size > SMALL else Attempts(1, 1)


def mount_candidates(
    destination: str,
    size: int | None,
    known: Iterable[tuple[str, int]],
    has_same_credentials: Callable[[str], bool] = lambda _: True,
) -> tuple[str, ...]:
    """Return the repositories to mount a blob from, the best one first.

    Args:
        destination: The repository that lacks the blob (``host/path``).
        size: The size of the blob in bytes, if it is known.
        known: Repositories that are known to have the blob, each with the Unix time at which it
            had it.
        has_same_credentials: Tells whether the credentials for a repository are those for the
            destination. It is called only if there is a choice, as it may run a program.

    Returns:
        Paths of repositories of the same registry, without the host.
    """
    host, _, path = destination.partition("/")
    latest: dict[str, int] = {}
    for repository, seen in known:
        if repository.startswith(f"{host}/") and repository != destination:
            latest[repository] = max(seen, latest.get(repository, seen))

    def preference(repository: str) -> tuple[bool, int, int, str]:
        common = _common_components(path, repository.partition("/")[2])
        is_other = len(latest) > 1 and not has_same_credentials(repository)
        return is_other, -common, -latest[repository], repository

    best = sorted(latest, key=preference)[: attempts(size).mounts]
    return tuple(repository.partition("/")[2] for repository in best)


def _common_components(path: str, other: str) -> int:
    """Count the leading components that two paths have in common."""
    count = 0
    for one, another in zip(path.split("/"), other.split("/"), strict=False):
        if one != another:
            break
        count += 1
    return count
