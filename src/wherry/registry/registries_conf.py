"""The content of registries.conf as containers-registries.conf(5) describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.registry.http.proxies import ProxyAddress


class RegistriesFiles(Record):
    """The paths of registries.conf and its drop-ins.

    The first existing file of ``main`` is read, then the drop-ins in ``directories``. Of two
    drop-ins with the same name the first counts. ``named`` is an option or variable with the
    file that it names, which replaces all of these. ``last`` names a file that is read last.
    """

    main: tuple[Path, ...] = ()
    directories: tuple[Path, ...] = ()
    named: tuple[str, Path] | None = None
    last: tuple[str, Path] | None = None


class Mirror(Record):
    """A mirror of a registry; ``pulls`` is ``all``, ``digest-only`` or ``tag-only``."""

    location: str
    insecure: bool = False
    pulls: str = "all"
    proxy: ProxyAddress | None = None


class RegistryTable(Record):
    """A ``[[registry]]`` table; an empty ``location`` keeps the name."""

    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[Mirror, ...]
    file: Path
    proxy: ProxyAddress | None = None

    def match(self, name: str) -> int | None:
        """Return how many characters of a name the prefix covers, None for no match."""
        if not self.prefix.startswith("*."):
            end = len(self.prefix) if name.startswith(self.prefix) else -1
        else:  # a subdomain at any depth
            at = name.find(self.prefix[1:])
            end = -1 if at <= 0 or "/" in name[:at] else at + len(self.prefix) - 1
        return end if end == len(name) or (end > 0 and name[end] in ":/") else None


class RegistriesConf(Record):
    """The content of one file, or of all files merged.

    ``search`` and ``helpers`` are None if no file has these keys. ``short_names`` is the
    ``short-name-mode``, or "". ``version`` is that of a single file's syntax. ``consulted`` lists
    each file with how it was used.
    """

    tables: tuple[RegistryTable, ...] = ()
    search: tuple[str, ...] | None = None
    search_file: Path | None = None
    helpers: tuple[str, ...] | None = None
    short_names: str = ""
    short_names_file: Path | None = None
    version: int = 2
    aliases: dict[str, tuple[str, Path]] = {}  # noqa: RUF012 - never modified
    consulted: tuple[tuple[Path, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def find(self, name: str) -> RegistryTable | None:
        """Return the table with the longest prefix that matches ``name``.

        ``name`` has no tag and no digest. Of two prefixes with the same length the first in
        alphabetical order counts, such as ``*.example.com`` before ``a.example.com``.
        """
        matching = [table for table in self.tables if table.match(name) is not None]
        return min(matching, key=lambda table: (-len(table.prefix), table.prefix), default=None)
