"""TLS settings, and certificates in ``certs.d`` (containers-certs.d(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import WherryError
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class TlsSettings(Record):
    """The TLS settings for a host.

    Attributes:
        verify: Whether the host's certificate has to be valid.
        authorities: Authorities that are trusted beside the default ones.
        pairs: Client certificates with their keys, which the host may ask for.
    """

    verify: bool = True
    authorities: tuple[Path, ...] = ()
    pairs: tuple[tuple[Path, Path], ...] = ()


class CaBundle(Record):
    """A file or directory of authorities, and the environment variable that names it."""

    variable: str
    path: Path


class HostCertificates(Record):
    """The files in a host's ``directory``, which is None if there is none."""

    directory: Path | None = None
    authorities: tuple[Path, ...] = ()
    pairs: tuple[tuple[Path, Path], ...] = ()


def find_certificates(roots: Sequence[Path], host: str) -> HostCertificates:
    """Return the certificates for ``host[:port]`` (containers-certs.d(5)).

    The first root with a directory of that name counts. There, ``*.crt`` are authorities, and
    each ``*.cert`` has a ``*.key`` of the same name. A directory without read permission is
    skipped.

    Raises:
        WherryError: One file of a pair is missing.
    """
    if "/" in host or host in {"", ".", ".."}:
        return HostCertificates()
    for root in roots:
        directory = root / host
        try:
            names = sorted(path.name for path in directory.iterdir())
        except (FileNotFoundError, NotADirectoryError, PermissionError, ValueError):
            continue  # `ValueError`: the name contains NUL
        except OSError as error:
            raise WherryError(str(error.strerror)).within(directory) from error
        authorities = tuple(directory / name for name in names if name.endswith(".crt"))
        return HostCertificates(directory, authorities, _pairs(directory, set(names)))
    return HostCertificates()


def _pairs(directory: Path, names: set[str]) -> tuple[tuple[Path, Path], ...]:
    stems = {name.removesuffix(".cert") for name in names if name.endswith(".cert")}
    keys = {name.removesuffix(".key") for name in names if name.endswith(".key")}
    for stem in sorted(stems ^ keys):
        existing, missing = (".cert", ".key") if stem in stems else (".key", ".cert")
        raise WherryError(
            f"{directory / stem}{existing}: there is no {stem}{missing} beside it",
            hint="a client certificate is NAME.cert with NAME.key; authorities end in .crt",
        )
    return tuple((directory / f"{stem}.cert", directory / f"{stem}.key") for stem in sorted(stems))
