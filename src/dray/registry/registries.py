"""registries.conf, versions 1 and 2: mirrors, other locations, blocked and insecure hosts, aliases.

The rules are those of containers-registries.conf(5) and containers-registries.conf.d(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dray.errors import DrayError, InvalidDocument
from dray.model._fields import Fields
from dray.model.record import Record
from dray.registry import toml_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PULLS = ("all", "digest-only", "tag-only")
_SHORT = r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"


class Mirror(Record):
    """Another place of a registry's content; ``pulls`` is by what: all, digest-only, tag-only."""

    location: str
    insecure: bool = False
    pulls: str = "all"


class RegistryTable(Record):
    """One ``[[registry]]``; an empty ``location`` (wildcards only) leaves names as they are."""

    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[Mirror, ...]
    file: Path

    def match(self, name: str) -> int | None:
        """Return how many characters of a full name the prefix covers; None: another's."""
        if not self.prefix.startswith("*."):
            end = len(self.prefix) if name.startswith(self.prefix) else -1
        else:  # a subdomain, at whatever depth
            at = name.find(self.prefix[1:])
            end = -1 if at <= 0 or "/" in name[:at] else at + len(self.prefix) - 1
        return end if end == len(name) or (end > 0 and name[end] in ":/") else None


class Settings(Record):
    """What all files together say; ``search``, ``helpers`` are None where none says anything.

    ``consulted`` lists the files with what became of each, ``warnings`` is for people.
    """

    tables: tuple[RegistryTable, ...] = ()
    search: tuple[str, ...] | None = None
    search_file: Path | None = None
    helpers: tuple[str, ...] | None = None
    aliases: dict[str, tuple[str, Path]] = {}  # noqa: RUF012 - never changed
    consulted: tuple[tuple[Path, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def find(self, name: str) -> RegistryTable | None:
        """Return the table with the longest prefix of a full name, the first of several.

        Tags and digests are no part of the name, as in podman and skopeo.
        """
        matching = [table for table in self.tables if table.match(name) is not None]
        return max(matching, key=lambda table: len(table.prefix), default=None)


def load(
    alternatives: Sequence[tuple[Path, Sequence[Path]]], *, required: bool, aliases: bool
) -> Settings:
    """Read the first alternative whose file is there, else the last; then its directories.

    ``required``: the file was asked for by name and has to be there. Without ``aliases`` files
    that hold nothing else are not parsed: most hold nothing else, and parsing takes longer than
    the rest of the start. Raises `DrayError` that names the file.
    """
    merged = Settings()
    for number, (file, directories) in enumerate(alternatives):
        raw = toml_files.read(file)
        if raw is None and required:
            raise DrayError(f"{file}: no such file")
        if raw is None:
            merged = merged.replace(consulted=(*merged.consulted, (file, "not there")))
        if raw is None and number + 1 < len(alternatives):
            continue
        if raw is not None:
            merged = _merged(merged, _parse(raw, file, aliases=aliases, alone=True))
        for extra in _drop_ins(directories):
            more = toml_files.read(extra)
            if more is not None:
                merged = _merged(merged, _parse(more, extra, aliases=aliases, alone=False))
        break
    return merged


def _drop_ins(directories: Sequence[Path]) -> Iterator[Path]:
    for directory in directories:
        try:
            names = sorted(path.name for path in directory.iterdir())
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        yield from (directory / name for name in names if name.endswith(".conf"))


def _merged(first: Settings, then: Settings) -> Settings:
    """Lay later settings over earlier ones: tables by prefix, aliases by name, lists as a whole."""
    tables = {table.prefix: table for table in (*first.tables, *then.tables)}
    searched = first if then.search is None else then
    return Settings(
        tuple(tables.values()),
        searched.search,
        searched.search_file,
        first.helpers if then.helpers is None else then.helpers,
        first.aliases | then.aliases,
        first.consulted + then.consulted,
        first.warnings + then.warnings,
    )


def _parse(raw: bytes, file: Path, *, aliases: bool, alone: bool) -> Settings:
    lines = [line for line in map(bytes.strip, raw.splitlines()) if line and line[:1] != b"#"]
    if not lines:
        return Settings(consulted=((file, "read, nothing"),))
    if not aliases and _short_names_only(lines):
        return Settings(consulted=((file, "read, short names only"),))
    content = toml_files.parse(raw, file)
    try:
        return _settings(content, file, alone=alone)
    except InvalidDocument as error:
        raise error.within(str(file)) from None


def _short_names_only(lines: Sequence[bytes]) -> bool:
    """Tell whether nothing but the table of aliases begins in a file (TOML 1.0, "Table")."""
    first, *others = lines
    return first.startswith(b"[aliases]") and not any(line.startswith(b"[") for line in others)


def _settings(content: dict[str, Any], file: Path, *, alone: bool) -> Settings:
    fields = Fields(content)
    newer = {"registry", "unqualified-search-registries", "aliases"} & content.keys()
    if "registries" in content:
        if newer:
            fields.fail("registries", f"belongs to version 1, {min(newer)} to version 2")
        if not alone:
            fields.fail("registries", "belongs to version 1, which .d directories may not hold")
        return _version_1(fields.required_object("registries"), file)
    tables = tuple(_table(entry, file) for entry in fields.objects("registry"))
    searched = "unqualified-search-registries" in content
    helpers = "credential-helpers" in content
    found = fields.text_map("aliases")
    for name, value in found.items():
        if not re.fullmatch(_SHORT, name):
            fields.fail("aliases", f"{name!r} is no short name")
        if value and "/" not in value:
            fields.fail("aliases", f"{name!r} stands for {value!r}, which names no registry")
    return Settings(
        tables,
        fields.texts("unqualified-search-registries") if searched else None,
        file if searched else None,
        fields.texts("credential-helpers") if helpers else None,
        {name: (value, file) for name, value in found.items()},
        ((file, "read"),),
    )


def _version_1(fields: Fields, file: Path) -> Settings:
    """Read ``[registries.search]``, ``.insecure`` and ``.block``, each with ``registries``."""
    search, insecure, block = (
        fields.object(key) or Fields({}, fields, key) for key in ("search", "insecure", "block")
    )
    hosts = dict.fromkeys(_location(insecure, "registries", each) for each in _listed(insecure))
    blocked = dict.fromkeys(_location(block, "registries", each) for each in _listed(block))
    tables = tuple(
        RegistryTable(host, host, host in hosts, host in blocked, (), file)
        for host in hosts | blocked
    )
    return Settings(
        tables,
        _listed(search),
        file,
        consulted=((file, "read, version 1"),),
        warnings=(f"{file} is of version 1, which is deprecated; write it as version 2",),
    )


def _listed(fields: Fields) -> tuple[str, ...]:
    return fields.texts("registries")


def _table(fields: Fields, file: Path) -> RegistryTable:
    location = _location(fields, "location", fields.text("location"))
    prefix = _location(fields, "prefix", fields.text("prefix")) or location
    if not prefix:
        fields.fail("prefix", "is missing, and so is location")
    if not location and not prefix.startswith("*."):
        fields.fail("location", "is missing; only a prefix like *.example.com may go without")
    if "*" in prefix.removeprefix("*.") or "*" in location:
        fields.fail("prefix", "has a * elsewhere than at its beginning, as in *.example.com")
    if fields.text("pull-from-mirror"):
        fields.fail("pull-from-mirror", "belongs to a mirror")
    by_digest = fields.flag("mirror-by-digest-only")
    mirrors = tuple(_mirror(entry, by_digest=by_digest) for entry in fields.objects("mirror"))
    return RegistryTable(
        prefix, location, fields.flag("insecure"), fields.flag("blocked"), mirrors, file
    )


def _mirror(fields: Fields, *, by_digest: bool) -> Mirror:
    location = _location(fields, "location", fields.text("location"))
    if not location or location.startswith("*"):
        fields.fail("location", "is missing" if not location else "is no place")
    pulls = fields.text("pull-from-mirror")
    if pulls and by_digest:
        fields.fail("pull-from-mirror", "does not go with mirror-by-digest-only")
    if pulls not in {"", *_PULLS}:
        fields.fail("pull-from-mirror", f"is {pulls!r}, expected one of {', '.join(_PULLS)}")
    default = "digest-only" if by_digest else "all"
    return Mirror(location, fields.flag("insecure"), pulls or default)


def _location(fields: Fields, key: str, text: str) -> str:
    """Check ``host[:port][/path]``."""
    if "://" in text:
        fields.fail(key, f"is {text!r}, expected a name without a scheme")
    return text.rstrip("/")
