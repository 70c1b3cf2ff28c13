"""Certificates for a host: `certs.d` of podman and docker, and what to trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import WherryError
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class TlsSettings(Record):
    """How to meet a host in TLS.

    ``verify``: its certificate has to be good, by the ``authorities`` here or the usual ones.
    ``pairs``: certificates, with their keys, that the host may ask for.
    """

    verify: bool = True
    authorities: tuple[Path, ...] = ()
    pairs: tuple[tuple[Path, Path], ...] = ()


class CaBundle(Record):
    """A file or directory of authorities that a variable of the environment names."""

    variable: str
    path: Path


class HostCertificates(Record):
    """What a host's ``directory`` holds; None where it has none."""

    directory: Path | None = None
    authorities: tuple[Path, ...] = ()
    pairs: tuple[tuple[Path, Path], ...] = ()


def find_certificates(roots: Sequence[Path], host: str) -> HostCertificates:
    """Return the files for ``host[:port]`` (containers-certs.d(5)).

    The first root with a directory of that name counts: ``*.crt`` are authorities, each
    ``*.cert`` goes with a ``*.key`` of the same name. A directory that may not be read is passed
    over. Raises `WherryError` where one of a pair is missing.
    """
    if "/" in host or host in {"", ".", ".."}:
        return HostCertificates()
    for root in roots:
        directory = root / host
        try:
            names = sorted(path.name for path in directory.iterdir())
        except (FileNotFoundError, NotADirectoryError, PermissionError, ValueError):
            continue  # `ValueError`: a path has no NUL in it
        except OSError as error:
            raise WherryError(str(error.strerror)).within(directory) from error
        authorities = tuple(directory / name for name in names if name.endswith(".crt"))
        return HostCertificates(directory, authorities, _pairs(directory, set(names)))
    return HostCertificates()


def _pairs(directory: Path, names: set[str]) -> tuple[tuple[Path, Path], ...]:
    stems = {name.removesuffix(".cert") for name in names if name.endswith(".cert")}
    keys = {name.removesuffix(".key") for name in names if name.endswith(".key")}
    for stem in sorted(stems ^ keys):
        there, missing = (".cert", ".key") if stem in stems else (".key", ".cert")
        raise WherryError(
            f"{directory / stem}{there}: there is no {stem}{missing} beside it",
            hint="a client certificate is NAME.cert with NAME.key; authorities end in .crt",
        )
    return tuple((directory / f"{stem}.cert", directory / f"{stem}.key") for stem in sorted(stems))
