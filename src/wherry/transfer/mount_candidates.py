"""Which repositories a blob is mounted from, and how many are tried. Does no I/O.

A request for a mount costs a round trip, so small blobs are sent sooner. The order and the numbers
are Docker's (moby, ``distribution/push_v2.go``). Docker also looks for other digests of a layer at
the destination. Here a blob has one digest, for which one request suffices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SMALL = 100 * 2**10  # bytes
LARGE = 10 * 2**20


def mount_attempts(size: int | None) -> int:
    """Return from how many repositories to mount a blob of ``size`` bytes; None: unknown."""
    if size is None:
        return 3
    if size > LARGE:
        return 4
    return 3 if size > SMALL else 1


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

    best = sorted(latest, key=preference)[: mount_attempts(size)]
    return tuple(repository.partition("/")[2] for repository in best)


def _common_components(path: str, other: str) -> int:
    """Count the leading components that two paths have in common."""
    count = 0
    for one, another in zip(path.split("/"), other.split("/"), strict=False):
        if one != another:
            break
        count += 1
    return count
