"""Parsing a registries.conf of version 1 or 2; loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument, InvalidReference, WherryError
from wherry.model._fields import Fields
from wherry.model.reference import Reference, is_short
from wherry.registry import toml_files
from wherry.registry.http.proxies import parse_proxy
from wherry.registry.registries_conf import Mirror, RegistriesConf, RegistryTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wherry.registry.http.proxies import ProxyAddress

_PULLS = ("all", "digest-only", "tag-only")
_MODES = ("permissive", "enforcing", "disabled")
# Keys of version 2 (containers-registries.conf(5)): of a file, a [[registry]] and a mirror.
_KEYS = {
    *("registry", "unqualified-search-registries", "aliases", "credential-helpers"),
    *("short-name-mode", "additional-layer-store-auth-helper"),
}
_MIRROR_KEYS = {"location", "insecure", "proxy", "pull-from-mirror"}
_TABLE_KEYS = _MIRROR_KEYS | {"prefix", "blocked", "mirror", "mirror-by-digest-only"}


def parse(raw: bytes, file: Path, *, main: bool) -> RegistriesConf:
    """Parse a file; only a ``main`` file may have version 1.

    Raises:
        WherryError: The file is invalid; the error names the file and the key.
    """
    content = toml_files.parse(raw, file)
    try:
        return _parse_content(content, file, main=main)
    except InvalidDocument as error:
        raise error.within(str(file)) from None


def _parse_content(content: dict[str, Any], file: Path, *, main: bool) -> RegistriesConf:
    fields = Fields(content)
    newer = {"registry", "unqualified-search-registries", "aliases"} & content.keys()
    if "registries" in content:
        if newer:
            fields.fail("registries", f"belongs to version 1, {min(newer)} to version 2")
        if not main:
            fields.fail("registries", "belongs to version 1, which only the main file may have")
        return _version_1(fields.required_object("registries"), file)
    entries = fields.objects("registry")
    tables = [_table(entry, file) for entry in entries]
    _check_conflicts(entries, tables)
    unique: dict[str, RegistryTable] = {}
    for table in tables:  # the first of several with the same prefix counts
        unique.setdefault(table.prefix, table)
    searched = "unqualified-search-registries" in content
    helpers = "credential-helpers" in content
    mode = fields.text("short-name-mode")
    if mode not in {"", *_MODES}:
        fields.fail("short-name-mode", f"is {mode!r}, expected one of {', '.join(_MODES)}")
    return RegistriesConf(
        tables=tuple(unique.values()),
        search=_search(fields, "unqualified-search-registries") if searched else None,
        search_file=file if searched else None,
        helpers=fields.texts("credential-helpers") if helpers else None,
        short_names=mode,
        short_names_file=file if mode else None,
        aliases=_aliases(fields, file),
        warnings=tuple(f"{file}: {path}: unknown key, no effect" for path in _unknown_keys(fields)),
    )


def _unknown_keys(fields: Fields) -> Iterator[str]:
    """Yield the paths of unknown keys, such as misspelt ones."""
    levels = [(fields, _KEYS)]
    for table in fields.objects("registry"):
        levels.append((table, _TABLE_KEYS))
        levels += [(mirror, _MIRROR_KEYS) for mirror in table.objects("mirror")]
    for level, known in levels:
        yield from (level.at(key) for key in level.value if key not in known)


def _check_conflicts(entries: Sequence[Fields], tables: Sequence[RegistryTable]) -> None:
    """Reject tables with the same prefix or location that disagree on security."""
    seen: dict[tuple[str, str], RegistryTable] = {}
    for fields, table in zip(entries, tables, strict=True):
        keys = [("prefix", table.prefix)]
        if table.location:
            keys.append(("location", table.location))
        for kind, text in keys:
            earlier = seen.setdefault((kind, text), table)
            for key in ("blocked", "insecure", "proxy"):
                if getattr(earlier, key) != getattr(table, key):
                    fields.fail(key, f"an earlier table with the {kind} {text!r} says otherwise")


def _search(fields: Fields, key: str) -> tuple[str, ...]:
    """Parse a list of ``host[:port]``; a trailing slash is ignored."""
    found = []
    for place, text in enumerate(fields.texts(key)):
        host = text.rstrip("/")
        try:
            Reference.parse(f"{host}/name")
        except InvalidReference:
            host = ""
        if not host or "/" in host:
            message = f"is {text!r}, expected HOST or HOST:PORT without a path"
            raise InvalidDocument(message, path=f"{fields.at(key)}[{place}]")
        found.append(host)
    return tuple(found)


def _aliases(fields: Fields, file: Path) -> dict[str, tuple[str, Path]]:
    """Parse short names; an empty value removes an alias of an earlier file."""
    found = fields.text_map("aliases")
    for name, value in found.items():
        if not _is_name_only(name) or not is_short(name):
            fields.fail("aliases", f"{name!r} is not a short name")
        if value and (not _is_name_only(value) or is_short(value)):
            fields.fail("aliases", f"{name!r} stands for {value!r}, expected HOST/REPOSITORY")
    return {name: (value, file) for name, value in found.items()}


def _is_name_only(text: str) -> bool:
    try:
        return Reference.parse(text).is_name_only
    except InvalidReference:
        return False


def _version_1(fields: Fields, file: Path) -> RegistriesConf:
    """Parse the tables of version 1, each with the key ``registries``."""
    search, insecure, block = (
        fields.object(key) or Fields({}, fields, key) for key in ("search", "insecure", "block")
    )
    hosts = dict.fromkeys(_locations(insecure))
    blocked = dict.fromkeys(_locations(block))
    tables = tuple(
        RegistryTable(host, host, host in hosts, host in blocked, (), file)
        for host in hosts | blocked
    )
    said = "has the syntax of version 1, which podman and skopeo refuse; write it as version 2"
    return RegistriesConf(
        tables=tables,
        search=_search(search, "registries"),
        search_file=file,
        version=1,
        warnings=(f"{file} {said}",),
    )


def _locations(fields: Fields) -> list[str]:
    return [_location(fields, "registries", each) for each in fields.texts("registries")]


def _table(fields: Fields, file: Path) -> RegistryTable:
    location = _location(fields, "location", fields.text("location"))
    prefix = _location(fields, "prefix", fields.text("prefix")) or location
    if not prefix:
        fields.fail("prefix", "is missing, and so is location")
    if not location and not prefix.startswith("*."):
        fields.fail("location", "is missing; only a prefix like *.example.com may go without")
    if "*" in prefix.removeprefix("*.") or "*" in location:
        fields.fail("prefix", "has a * elsewhere than at its beginning, as in *.example.com")
    if prefix.startswith("*.") and set(prefix) & set("/@:"):
        fields.fail("prefix", f"is {prefix!r}, expected *.HOST without port and path")
    if fields.text("pull-from-mirror"):
        fields.fail("pull-from-mirror", "belongs to a mirror")
    by_digest = fields.flag("mirror-by-digest-only")
    mirrors = tuple(_mirror(entry, file, by_digest=by_digest) for entry in fields.objects("mirror"))
    return RegistryTable(
        prefix,
        location,
        fields.flag("insecure"),
        fields.flag("blocked"),
        mirrors,
        file,
        _proxy(fields, file),
    )


def _mirror(fields: Fields, file: Path, *, by_digest: bool) -> Mirror:
    location = _location(fields, "location", fields.text("location"))
    if not location or location.startswith("*"):
        fields.fail("location", "is missing" if not location else "is not a location")
    pulls = fields.text("pull-from-mirror")
    if pulls and by_digest:
        fields.fail("pull-from-mirror", "does not go with mirror-by-digest-only")
    if pulls not in {"", *_PULLS}:
        fields.fail("pull-from-mirror", f"is {pulls!r}, expected one of {', '.join(_PULLS)}")
    default = "digest-only" if by_digest else "all"
    return Mirror(location, fields.flag("insecure"), pulls or default, _proxy(fields, file))


def _proxy(fields: Fields, file: Path) -> ProxyAddress | None:
    """Parse the address of a proxy; here a SOCKS5 proxy always looks names up itself."""
    text = fields.text("proxy")
    if not text:
        return None
    if "://" not in text:
        fields.fail("proxy", "is not an address with a scheme, as http://HOST:PORT")
    try:
        proxy = parse_proxy(text, fields.at("proxy"))
    except WherryError as error:
        raise error.within(file) from None
    scheme = "socks5h" if proxy.is_socks else proxy.scheme
    return proxy.replace(scheme=scheme, variable=str(file))


def _location(fields: Fields, key: str, text: str) -> str:
    """Return ``host[:port][/path]`` without trailing slashes."""
    if "://" in text:
        fields.fail(key, f"is {text!r}, expected a name without a scheme")
    return text.rstrip("/")
