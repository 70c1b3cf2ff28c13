"""Rules for the arguments of public calls, by the names of the parameters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import wherry
from wherry.model.address import Address
from wherry.model.arguments import (
    CALLABLE,
    COUNT,
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
    Rule,
    choice,
    instance,
)
from wherry.model.platform import Platform
from wherry.model.reference import Reference


def _is_given(value: Any) -> bool:
    """Tell whether a path is not empty; an empty one would mean the current directory."""
    return not isinstance(value, str | os.PathLike) or bool(os.fspath(value))


_PATH = instance("a path", str, os.PathLike).replace(valid=_is_given, quoted=True)


def _are_paths(value: Sequence[Any]) -> bool:
    return len(value) > 0 and all(_PATH.fits(each) and _is_given(each) for each in value)


def _is_store(value: object) -> bool:
    return _PATH.fits(value) or isinstance(value, wherry.Store)


def _is_image(value: object) -> bool:
    return TEXT.fits(value) or isinstance(value, wherry.Image | Address)


def _is_lock(value: object) -> bool:
    return _PATH.fits(value) or isinstance(value, wherry.types.Lock)


_ADDRESS = instance("a str or a wherry.Address", str, Address)
_REFERENCE = instance("a str or a wherry.Reference", str, Reference)
_IMAGE = instance("a str, a wherry.Reference or a wherry.Address", str, Reference, Address)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _is_pair(value: Sequence[Any]) -> bool:
    return (
        _is_list(value)
        and len(value) == len(("user", "password"))
        and all(isinstance(each, str) for each in value)
    )


def _is_file(value: Any, method: str) -> bool:
    return _PATH.fits(value) or callable(getattr(value, method, None))


def _is_label(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and (item[1] is None or isinstance(item[1], str))


def _is_range(value: Any) -> bool:
    """Tell whether a value is a range of ids: first inside, first outside, and how many."""
    if not (_is_list(value) and len(value) == _RANGE and all(map(INTEGER.fits, value))):
        return False
    inside, outside, count = map(int, value)
    return min(inside, outside) >= 0 and count >= 1 and max(inside, outside) + count <= _IDS


_TEXTS = Rule("a list of str", _is_list, lambda value: all(map(TEXT.fits, value)))
_RANGE = 3  # numbers of a range
_IDS = 2**32 - 1  # users and groups of Linux
_RANGES = Rule(
    "a list of ranges of ids, three int each", _is_list, lambda value: all(map(_is_range, value))
)
RULES = {
    "additional_tags": _TEXTS,
    "address": _ADDRESS,
    "all_platforms": FLAG,
    "artifact_type": TEXT,
    "authfile": _PATH,
    "attestations": FLAG,
    "before": _IMAGE,
    "bundle": FLAG,
    "cache": choice("copy", "link", "overlay"),
    "cancel": Rule("a wherry.CancelToken", lambda value: isinstance(value, wherry.CancelToken)),
    "changes": _TEXTS,
    "check": FLAG,
    "compression": TEXT,
    "config": instance("bytes", bytes),
    "convert_to": choice("oci", "docker", "v2s1"),
    "created": INTEGER,
    "credentials": Rule(
        "a pair of str, the user and the password, or a mapping of hosts to pairs",
        lambda value: _is_list(value) or isinstance(value, Mapping),
        lambda value: all(map(_is_pair, value.values() if isinstance(value, Mapping) else [value])),
        secret=True,
    ),
    "dangling": FLAG,
    "destination": _IMAGE,
    "digest": TEXT,
    "directory": _PATH,
    "dry_run": FLAG,
    "exclude": _TEXTS,
    "file": _PATH,
    "files": Rule(
        "a path or a list of paths",
        lambda value: _PATH.fits(value) or _is_list(value),
        lambda value: _is_given(value) if _PATH.fits(value) else _are_paths(value),
    ),
    "force": FLAG,
    "foreign": FLAG,
    "format": choice("docker", "oci-archive", "oci", "dir"),
    "gid_map": _RANGES,
    "htpasswd": _PATH,
    "image": _IMAGE,
    "include": _TEXTS,
    "insecure": FLAG,
    "jobs": INTEGER,
    "keep_dirlinks": FLAG,
    "keep_owners": FLAG,
    "labels": Rule(
        "a mapping of str to str or None",
        lambda value: isinstance(value, Mapping),
        lambda value: all(map(_is_label, value.items())),
    ),
    "layer": INTEGER,
    "legacy": FLAG,
    "limit_rate": NUMBER,
    "limits": Rule("wherry.types.Limits", lambda value: isinstance(value, wherry.types.Limits)),
    "listen": TEXT,
    "lock_file": _PATH,
    "locked": Rule("a wherry.types.Lock or a path", _is_lock, _is_given, quoted=True),
    "matching": TEXT,
    "max_files": COUNT,
    "max_size": COUNT,
    "message": TEXT,
    "name": _REFERENCE,
    "names": Rule(
        "a str, a wherry.Address, a wherry.Image or a list of at least one of these",
        lambda value: _is_image(value) or _is_list(value),
        lambda value: _is_image(value) or (len(value) > 0 and all(map(_is_image, value))),
    ),
    "offline": FLAG,
    "origin": _ADDRESS,
    "on_access": CALLABLE,
    "on_event": CALLABLE,
    "on_failure": CALLABLE,
    "on_progress": CALLABLE,
    "on_ready": CALLABLE,
    "on_request": CALLABLE,
    "on_warning": CALLABLE,
    "order": choice("registry", "name", "version"),
    "output": Rule(
        "a path or a binary file to write",
        lambda value: _is_file(value, "write"),
        _is_given,
        quoted=True,
    ),
    "parent": _ADDRESS,
    "password": TEXT.replace(secret=True),
    "path": _PATH,
    "patterns": TEXT,
    "plan": Rule("a wherry.Plan", lambda value: isinstance(value, wherry.Plan)),
    "platform": instance("a str or a wherry.Platform", str, Platform),
    "problems": Rule(
        "wherry.types.StoreProblem objects",
        lambda value: isinstance(value, Iterable) and not isinstance(value, str | bytes),
        lambda value: (
            not _is_list(value)
            or all(isinstance(each, wherry.types.StoreProblem) for each in value)
        ),
    ),
    "proxies": _TEXTS,
    "proxy_ttl": NUMBER.replace(valid=lambda value: value >= 0),
    "read_only": FLAG,
    "reference": _REFERENCE,
    "referrers": FLAG,
    "registries_conf": _PATH,
    "registry": TEXT,
    "replace": FLAG,
    "retries": INTEGER,
    "rootless": FLAG,
    "schema1": choice("allow", "deny"),
    "since": _IMAGE,
    "source": Rule(
        "a path or a binary file to read",
        lambda value: _is_file(value, "read"),
        _is_given,
        quoted=True,
    ),
    "sparse": FLAG,
    "split": INTEGER,
    "strip_components": INTEGER.replace(valid=lambda value: value >= 0),
    "store": Rule("a wherry.Store or a path", _is_store, _is_given, quoted=True),
    "tags": FLAG,
    "timeout": NUMBER,
    "tls": Rule(
        "a pair of paths, the certificate and the key",
        lambda value: _is_list(value) and len(value) == len(("certificate", "key")),
        lambda value: all(_PATH.fits(each) and _is_given(each) for each in value),
    ),
    "ui": FLAG,
    "uid_map": _RANGES,
    "untag": FLAG,
    "upgrade": Rule(
        "True, False or a list of str",
        lambda value: isinstance(value, bool) or _is_list(value),
        lambda value: isinstance(value, bool) or all(map(TEXT.fits, value)),
    ),
    "username": TEXT,
    "v1": FLAG,
    "verify_layers": FLAG,
    "verify_signatures": FLAG,
}


def check_options(call: str, options: Mapping[str, object], allowed: Iterable[str]) -> None:
    """Check the named arguments that several calls share.

    Raises:
        TypeError: An argument is unknown, or has the wrong type.
        ValueError: An argument has the right type but is not allowed.
    """
    known = frozenset(allowed)
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"{call}() got an unexpected keyword argument {name!r}")
        if value is not None or name not in {"platform", "convert_to", "compression"}:
            RULES[name].check(name, value)
