"""Finding, reading and merging the files of registries.conf.

The rules are those of containers/image 5.40, as containers-registries.conf(5) and
containers-registries.conf.d(5) describe them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherry.errors import WherryError
from wherry.registry import toml_files
from wherry.registry.registries_conf import RegistriesConf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherry.registry.registries_conf import RegistriesFiles

_SUFFIX = ".conf"  # of a drop-in


def load(files: RegistriesFiles, *, aliases: bool) -> RegistriesConf:
    """Read and merge the files, in order.

    Without ``aliases``, files that only hold aliases are not parsed. Most drop-ins are like
    that, and loading the TOML parser takes longer than the rest of the start-up.

    Raises:
        WherryError: A file cannot be read or is invalid; the error names it.
    """
    merged = RegistriesConf()
    for found in _read_all(files, aliases=aliases):
        merged = _merge(merged, found)
    return merged.replace(helpers=merged.helpers or None)


def _read_all(files: RegistriesFiles, *, aliases: bool) -> Iterator[RegistriesConf]:
    """Yield the content of each file, or why it is not read."""
    if files.named is not None:
        yield _read_named(*files.named, aliases=aliases, main=True)
    else:
        yield from _read_main(files.main, aliases=aliases)
        yield from _read_drop_ins(files.directories, aliases=aliases)
    if files.last is not None:
        yield _read_named(*files.last, aliases=aliases, main=False)


def _read_main(candidates: tuple[Path, ...], *, aliases: bool) -> Iterator[RegistriesConf]:
    main: Path | None = None
    for file in candidates:
        if main is not None:
            yield _unread(file, f"not read: {main} is the main file")
            continue
        raw = toml_files.read(file)
        if raw is None:
            yield _unread(file, "not there")
            continue
        main = file
        yield _parse(raw, file, "read: the main file", aliases=aliases, main=True)


def _read_drop_ins(directories: tuple[Path, ...], *, aliases: bool) -> Iterator[RegistriesConf]:
    """Read the ``*.conf`` files of all directories, ordered by name."""
    chosen: dict[str, Path] = {}
    for directory in directories:
        for entry in _entries(directory):
            file = directory / entry.name
            if entry.is_symlink():
                if file.is_file():
                    said = f"{file} is not read: drop-ins that are symbolic links have no effect"
                    yield _unread(file, "not read: a symbolic link").replace(warnings=(said,))
            elif entry.is_file():
                winner = chosen.setdefault(entry.name, file)
                if winner != file:
                    yield _unread(file, f"not read: {winner} has the same name")
    for _, file in sorted(chosen.items()):
        raw = toml_files.read(file)
        if raw is not None:
            yield _parse(raw, file, "read: a drop-in", aliases=aliases, main=False)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            found = [entry for entry in entries if entry.name.endswith(_SUFFIX)]
    except FileNotFoundError:
        return []
    except OSError as error:
        if isinstance(error, NotADirectoryError) and not directory.exists():
            return []  # a parent is not a directory, as below /dev/null
        raise WherryError(str(error.strerror)).within(directory) from error
    return sorted(found, key=lambda entry: entry.name)


def _read_named(by: str, file: Path, *, aliases: bool, main: bool) -> RegistriesConf:
    raw = toml_files.read(file)
    if raw is None:
        raise WherryError("no such file", hint=f"{by} names it").within(file)
    said = f"read: {by} names it" if main else f"read last: {by} names it"
    return _parse(raw, file, said, aliases=aliases, main=main)


def _parse(raw: bytes, file: Path, said: str, *, aliases: bool, main: bool) -> RegistriesConf:
    """Parse a file unless it is empty or holds only aliases that are not needed."""
    lines = [line for line in map(bytes.strip, raw.splitlines()) if line and line[:1] != b"#"]
    if not lines:
        return _unread(file, f"{said} (nothing in it)")
    if not aliases and _short_names_only(lines):
        return _unread(file, f"{said} (short names only)")
    from wherry.registry.registries_conf_syntax import parse

    found = parse(raw, file, main=main)
    version = " (version 1)" if found.version == 1 else ""
    return found.replace(consulted=((file, said + version),))


def _unread(file: Path, said: str) -> RegistriesConf:
    return RegistriesConf(consulted=((file, said),))


def _short_names_only(lines: list[bytes]) -> bool:
    """Return whether a file has no other table than ``[aliases]`` (TOML 1.0, Table)."""
    first, *others = lines
    return first.startswith(b"[aliases]") and not any(line.startswith(b"[") for line in others)


def _merge(first: RegistriesConf, then: RegistriesConf) -> RegistriesConf:
    """Merge tables by prefix and aliases by name; later lists replace earlier ones."""
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
