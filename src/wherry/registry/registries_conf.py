"""registries.conf: which files count, how they are merged, and which table a name matches.

The rules are those of containers/image 5.40 (2026-04): containers-registries.conf(5) and
containers-registries.conf.d(5).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherry.errors import WherryError
from wherry.model.record import Record
from wherry.registry import toml_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry.registry.http.proxies import ProxyAddress

_SUFFIX = ".conf"  # of a drop-in


class RegistriesFiles(Record):
    """Where registries.conf is looked for.

    Of ``main`` the first file that exists is read, and then the drop-ins of ``directories``,
    whose first file of a name counts. ``named`` is an option or variable and the file that it
    names: that file replaces all of these. ``last`` is the same for a file that is read last.
    """

    main: tuple[Path, ...] = ()
    directories: tuple[Path, ...] = ()
    named: tuple[str, Path] | None = None
    last: tuple[str, Path] | None = None


class Mirror(Record):
    """Another place of a registry's content; ``pulls`` is by what: all, digest-only, tag-only."""

    location: str
    insecure: bool = False
    pulls: str = "all"
    proxy: ProxyAddress | None = None


class RegistryTable(Record):
    """One ``[[registry]]``; an empty ``location`` (wildcards only) leaves names as they are."""

    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[Mirror, ...]
    file: Path
    proxy: ProxyAddress | None = None

    def match(self, name: str) -> int | None:
        """Return how many characters of a full name the prefix covers; None: another's."""
        if not self.prefix.startswith("*."):
            end = len(self.prefix) if name.startswith(self.prefix) else -1
        else:  # a subdomain, at whatever depth
            at = name.find(self.prefix[1:])
            end = -1 if at <= 0 or "/" in name[:at] else at + len(self.prefix) - 1
        return end if end == len(name) or (end > 0 and name[end] in ":/") else None


class RegistriesConf(Record):
    """What all files together say; ``search``, ``helpers`` are None where none says anything.

    ``version`` is that of the syntax, where it is one file. ``short_names`` is the
    ``short-name-mode``, "" where no file has one. ``consulted`` lists the files with what became
    of each, ``warnings`` is for people.
    """

    tables: tuple[RegistryTable, ...] = ()
    search: tuple[str, ...] | None = None
    search_file: Path | None = None
    helpers: tuple[str, ...] | None = None
    short_names: str = ""
    short_names_file: Path | None = None
    version: int = 2
    aliases: dict[str, tuple[str, Path]] = {}  # noqa: RUF012 - never changed
    consulted: tuple[tuple[Path, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def find(self, name: str) -> RegistryTable | None:
        """Return the table with the longest prefix of a full name.

        Of two prefixes of one length the first in alphabetical order counts: ``*.example.com``
        before ``a.example.com``. Tags and digests are no part of the name.
        """
        matching = [table for table in self.tables if table.match(name) is not None]
        return min(matching, key=lambda table: (-len(table.prefix), table.prefix), default=None)


def load(files: RegistriesFiles, *, aliases: bool) -> RegistriesConf:
    """Read all files that count, in order.

    Without ``aliases`` files that hold nothing else are not parsed: most hold nothing else, and
    parsing takes longer than the rest of the start. Raises `WherryError` that names the file.
    """
    merged = RegistriesConf()
    for found in _all(files, aliases=aliases):
        merged = _merged(merged, found)
    return merged.replace(helpers=merged.helpers or None)


def _all(files: RegistriesFiles, *, aliases: bool) -> Iterator[RegistriesConf]:
    """Yield what each file says, or why it is not read."""
    if files.named is not None:
        yield _required(*files.named, aliases=aliases, main=True)
    else:
        yield from _main(files.main, aliases=aliases)
        yield from _drop_ins(files.directories, aliases=aliases)
    if files.last is not None:
        yield _required(*files.last, aliases=aliases, main=False)


def _main(candidates: tuple[Path, ...], *, aliases: bool) -> Iterator[RegistriesConf]:
    main: Path | None = None
    for file in candidates:
        if main is not None:
            yield _consulted(file, f"not read: {main} is the main file")
            continue
        raw = toml_files.read(file)
        if raw is None:
            yield _consulted(file, "not there")
            continue
        main = file
        yield _parsed(raw, file, "read: the main file", aliases=aliases, main=True)


def _drop_ins(directories: tuple[Path, ...], *, aliases: bool) -> Iterator[RegistriesConf]:
    """Read the ``*.conf`` files of all directories in the order of their names."""
    chosen: dict[str, Path] = {}
    for directory in directories:
        for entry in _entries(directory):
            file = directory / entry.name
            if entry.is_symlink():
                if file.is_file():
                    said = f"{file} is not read: drop-ins that are symbolic links have no effect"
                    yield _consulted(file, "not read: a symbolic link").replace(warnings=(said,))
            elif entry.is_file():
                winner = chosen.setdefault(entry.name, file)
                if winner != file:
                    yield _consulted(file, f"not read: {winner} has the same name")
    for _, file in sorted(chosen.items()):
        raw = toml_files.read(file)
        if raw is not None:
            yield _parsed(raw, file, "read: a drop-in", aliases=aliases, main=False)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            found = [entry for entry in entries if entry.name.endswith(_SUFFIX)]
    except FileNotFoundError:
        return []
    except OSError as error:
        if isinstance(error, NotADirectoryError) and not directory.exists():
            return []  # a directory above it is none, as below /dev/null
        raise WherryError(str(error.strerror)).within(directory) from error
    return sorted(found, key=lambda entry: entry.name)


def _required(by: str, file: Path, *, aliases: bool, main: bool) -> RegistriesConf:
    raw = toml_files.read(file)
    if raw is None:
        raise WherryError("no such file", hint=f"{by} names it").within(file)
    said = f"read: {by} names it" if main else f"read last: {by} names it"
    return _parsed(raw, file, said, aliases=aliases, main=main)


def _parsed(raw: bytes, file: Path, said: str, *, aliases: bool, main: bool) -> RegistriesConf:
    """Parse a file, unless it holds nothing, or nothing but aliases that are not asked for."""
    lines = [line for line in map(bytes.strip, raw.splitlines()) if line and line[:1] != b"#"]
    if not lines:
        return _consulted(file, f"{said} (nothing in it)")
    if not aliases and _short_names_only(lines):
        return _consulted(file, f"{said} (short names only)")
    from wherry.registry.registries_conf_syntax import parse

    found = parse(raw, file, main=main)
    version = " (version 1)" if found.version == 1 else ""
    return found.replace(consulted=((file, said + version),))


def _consulted(file: Path, said: str) -> RegistriesConf:
    return RegistriesConf(consulted=((file, said),))


def _short_names_only(lines: list[bytes]) -> bool:
    """Tell whether nothing but the table of aliases begins in a file (TOML 1.0, "Table")."""
    first, *others = lines
    return first.startswith(b"[aliases]") and not any(line.startswith(b"[") for line in others)


def _merged(first: RegistriesConf, then: RegistriesConf) -> RegistriesConf:
    """Lay later settings over earlier ones: tables by prefix, aliases by name, lists as a whole."""
    tables = {table.prefix: table for table in (*first.tables, *then.tables)}
    searched = first if then.search is None else then
    moded = then if then.short_names else first
    return RegistriesConf(
        tables=tuple(tables.values()),
        search=searched.search,
        search_file=searched.search_file,
        helpers=first.helpers if then.helpers is None else then.helpers,
        short_names=moded.short_names,
        short_names_file=moded.short_names_file,
        aliases=first.aliases | then.aliases,
        consulted=first.consulted + then.consulted,
        warnings=first.warnings + then.warnings,
    )
