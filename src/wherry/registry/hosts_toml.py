"""hosts.toml: settings of hosts that other tools have no files for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from wherry.errors import InvalidReference, WherryError
from wherry.model.record import Record
from wherry.model.reference import Reference
from wherry.registry import toml_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ALLOW, DENY = "allow", "deny"
_KEYS: Mapping[str, tuple[type, str]] = {
    "private-realm": (bool, "true or false"),
    "schema1": (str, f'"{ALLOW}" or "{DENY}"'),
    "legacy": (bool, "true or false"),
}
_REGISTRIES_CONF = {"insecure", "blocked", "location", "mirror", "prefix", "proxy"}
_HUB = {"registry-1.docker.io": "docker.io"}
_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}


class HostSettings(Record):
    """The settings of one host.

    Attributes:
        private_realm: Whether the host may name a token server in a private network.
        schema1: ``allow``, ``deny``, or an empty string if no file has the key.
        legacy: Whether the v1 protocol may be used with the host.
    """

    private_realm: bool = False
    schema1: str = ""
    legacy: bool = False


class HostsFile(Record):
    """A hosts.toml; ``tables`` is None if the file does not exist."""

    path: Path
    tables: dict[str, dict[str, Any]] | None = None


def load(files: Sequence[Path]) -> tuple[HostsFile, ...]:
    """Read the files that exist.

    Raises:
        WherryError: A file is invalid; the error names the file, the table and the key.
    """
    return tuple(HostsFile(file, _read(file)) for file in files)


def settings_of(files: Sequence[HostsFile], host: str) -> HostSettings:
    """Return the settings of ``host[:port]``; earlier files take precedence."""
    merged: dict[str, Any] = {}
    for file in files:
        merged = _table(file, host) | merged
    return HostSettings(**{key.replace("-", "_"): value for key, value in merged.items()})


def explain(files: Sequence[HostsFile], host: str) -> Iterator[tuple[Path, str]]:
    """Yield the path of each file and a description of what it sets for a host."""
    decided: set[str] = set()
    for file in files:
        table = _table(file, host)
        if file.tables is None:
            yield file.path, "not there"
        elif not table:
            yield file.path, f"no settings for {host}"
        else:
            yield file.path, ", ".join(_describe(key, table[key], decided) for key in table)
        decided |= table.keys()


def deciding_file(files: Sequence[HostsFile], host: str, key: str) -> Path | None:
    """Return the path of the first file that has a key for a host; None if no file has it."""
    return next((file.path for file in files if key in _table(file, host)), None)


def _describe(key: str, value: object, decided: set[str]) -> str:
    shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
    note = " (an earlier file decides)" if key in decided else ""
    return f"{key} = {shown}{note}"


def _table(file: HostsFile, host: str) -> dict[str, Any]:
    return (file.tables or {}).get(host.lower(), {})


def _read(file: Path) -> dict[str, dict[str, Any]] | None:
    raw = toml_files.read(file)
    if raw is None:
        return None
    tables: dict[str, dict[str, Any]] = {}
    for name, table in toml_files.parse(raw, file).items():
        _check_table(file, name, table)
        host = _host(file, name)
        if host in tables:
            raise WherryError(f'{file}: ["{name}"] is a second table for {host}')
        tables[host] = table
    return tables


def _check_table(file: Path, name: str, table: object) -> None:
    """Raise `WherryError` for unknown keys and values of a wrong type."""
    if not isinstance(table, dict):
        hint = 'write ["HOST"] or ["HOST:PORT"] above it'
        raise WherryError("stands outside of a table", hint=hint).within(file, name)
    for key, value in table.items():
        if isinstance(value, dict):
            raise WherryError(
                f"[{name}.{key}] is not a host",
                hint=f'the name of a host needs quotation marks: ["{name}.{key}"]',
            ).within(file)
        where = f'["{name}"] {key}'
        if key not in _KEYS:
            _reject_key(file, where, key)
        kind, expected = _KEYS[key]
        if type(value) is not kind:
            given = _KINDS.get(type(value), "a date or time")
            raise WherryError(f"is {given}, expected {expected}").within(file, where)
        if kind is str and value not in {ALLOW, DENY}:
            raise WherryError(f"is {value!r}, expected {expected}").within(file, where)


def _reject_key(file: Path, where: str, key: str) -> NoReturn:
    hint = f"known keys: {', '.join(_KEYS)}"
    if key in _REGISTRIES_CONF:
        hint = f"write {key} into a [[registry]] table of registries.conf"
    elif key.replace("_", "-") in _KEYS:
        hint = f"write {key.replace('_', '-')}"
    raise WherryError("unknown key", hint=hint).within(file, where)


def _host(file: Path, name: str) -> str:
    """Return the host of a table in the form that references have, in lower case."""
    try:
        domain = Reference.parse(f"{name}/repository").domain
    except InvalidReference:
        domain = ""
    # A name without a dot or a port is part of a path on Docker Hub.
    if not domain or name not in {domain, "index.docker.io"}:
        raise WherryError(
            f'{file}: ["{name}"] is not a host',
            hint='write ["HOST"] or ["HOST:PORT"], without scheme and path',
        )
    return _HUB.get(domain.lower(), domain.lower())
